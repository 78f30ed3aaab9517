"""``apdepth-deploy ros``: a ROS 2 node. What it owes to others stands in ``contract.json``."""
