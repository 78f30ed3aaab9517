"""From relative depth to what a robot takes: steadier from frame to frame. numpy alone."""
