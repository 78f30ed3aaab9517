"""A ROS 2 node that does what it is told over a pipe: pickled (name, arguments) in, results out.

Run by the Python that has rclpy; of this project it needs nothing. Messages are dictionaries of
their fields, arrays of bytes are bytes.
"""

from __future__ import annotations

import array
import os
import pickle
import sys
import threading
import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

TYPES = {kind.__name__: kind for kind in (Image, CameraInfo, PointCloud2, DiagnosticArray)}
#: Seconds in which the other side, too, hears of a new end of a topic; there is no asking it.
_HEARD_OF = 0.5


def told(value: Any) -> Any:
    """A message as a dictionary."""
    if hasattr(value, "get_fields_and_field_types"):
        return {name: told(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if isinstance(value, array.array):
        return value.tobytes() if value.typecode == "B" else list(value)
    if isinstance(value, (list, tuple)):
        return [told(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value


def fill(message: Any, fields: dict[str, Any]) -> Any:
    """The message with these fields; ``fields`` of a cloud: [name, offset, datatype] each."""
    for name, value in fields.items():
        if isinstance(value, dict):
            fill(getattr(message, name), value)
        elif name == "fields":
            message.fields = [
                PointField(name=n, offset=o, datatype=d, count=1) for n, o, d in value
            ]
        elif isinstance(value, bytes):
            setattr(message, name, array.array("B", value))
        else:
            setattr(message, name, value)
    return message


class Client:
    """What a test may ask for."""

    def __init__(self) -> None:
        rclpy.init()
        self._node = rclpy.create_node("client")
        self._publishers: dict[str, Any] = {}
        self._heard: dict[str, list[Any]] = {}
        self._subscriptions: dict[str, Any] = {}
        threading.Thread(target=rclpy.spin, args=[self._node], daemon=True).start()

    def listen(self, topic: str, kind: str, reliability: str = "RELIABLE") -> None:
        """From now on, once a publisher is there."""
        self.listen_to_come(topic, kind, reliability)
        self._wait(lambda: self._node.count_publishers(topic))
        time.sleep(_HEARD_OF)

    def listen_to_come(self, topic: str, kind: str, reliability: str = "RELIABLE") -> None:
        """From now on, whoever comes."""
        self._heard.setdefault(topic, [])
        qos = QoSProfile(depth=100, reliability=QoSReliabilityPolicy[reliability])
        take = self._heard[topic].append
        self._subscriptions[topic] = self._node.create_subscription(TYPES[kind], topic, take, qos)

    def stop_listening(self) -> None:
        """To anything."""
        for one in self._subscriptions.values():
            self._node.destroy_subscription(one)
        self._subscriptions, self._heard = {}, {}
        time.sleep(_HEARD_OF)

    def send(
        self, topic: str, kind: str, fields: dict[str, Any], reliability: str = "RELIABLE"
    ) -> None:
        """A message, once a subscriber is there."""
        key = f"{topic} {reliability}"
        if key not in self._publishers:
            qos = QoSProfile(depth=100, reliability=QoSReliabilityPolicy[reliability])
            self._publishers[key] = self._node.create_publisher(TYPES[kind], topic, qos)
            self._wait(self._publishers[key].get_subscription_count)
            time.sleep(_HEARD_OF)
        self._wait(self._publishers[key].get_subscription_count)
        self._publishers[key].publish(fill(TYPES[kind](), fields))

    def heard(self, topic: str, count: int, seconds: float = 10.0) -> list[dict[str, Any]]:
        """So many messages, and what else came; fewer where the time is over first."""
        kept = self._heard[topic]
        end = time.monotonic() + seconds
        while len(kept) < count and time.monotonic() < end:
            time.sleep(0.005)
        found = [told(message) for message in kept]
        del kept[: len(found)]
        return found

    def graph(self, node: str, namespace: str) -> dict[str, dict[str, list[Any]]]:
        """Topic -> [its type, reliability of this node's end], of "in" and "out"."""
        here = (node, namespace)
        self._wait(lambda: here in self._node.get_node_names_and_namespaces())
        time.sleep(_HEARD_OF)  # its topics come after its name
        found: dict[str, dict[str, list[Any]]] = {"in": {}, "out": {}}
        ways = {
            "in": self._node.get_subscriber_names_and_types_by_node,
            "out": self._node.get_publisher_names_and_types_by_node,
        }
        ends = {
            "in": self._node.get_subscriptions_info_by_topic,
            "out": self._node.get_publishers_info_by_topic,
        }
        for way, names in ways.items():
            for topic, kinds in names(node, namespace):
                own = [e for e in ends[way](topic) if (e.node_name == node)]
                found[way][topic] = [kinds[0], own[0].qos_profile.reliability.name]
        return found

    def parameters(self, node: str) -> dict[str, dict[str, Any]]:
        """Name -> its value and descriptor, by the node's services."""
        listed = self._call(ListParameters, f"{node}/list_parameters", {})
        names = {"names": sorted(listed.result.names)}
        values = self._call(GetParameters, f"{node}/get_parameters", names).values
        described = self._call(DescribeParameters, f"{node}/describe_parameters", names).descriptors
        return {
            one.name: {**told(one), "value": parameter_value_to_python(value)}
            for one, value in zip(described, values, strict=True)
        }

    def set(self, node: str, **values: Any) -> list[tuple[bool, str]]:
        """Whether each was taken, and why not."""
        asked = [Parameter(n, value=value).to_parameter_msg() for n, value in values.items()]
        found = self._call(SetParameters, f"{node}/set_parameters", {"parameters": asked})
        return [(one.successful, one.reason) for one in found.results]

    def _call(self, kind: Any, service: str, fields: dict[str, Any]) -> Any:
        client = self._node.create_client(kind, service)
        assert client.wait_for_service(10.0), service
        future = client.call_async(kind.Request(**fields))
        self._wait(future.done)
        self._node.destroy_client(client)
        return future.result()

    def _wait(self, ready: Any) -> None:
        end = time.monotonic() + 10.0
        while not ready():
            assert time.monotonic() < end, "nobody there after ten seconds"
            time.sleep(0.005)


def main() -> None:
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what else is printed must not get between
    client = Client()
    while True:
        try:
            name, arguments, options = pickle.load(sys.stdin.buffer)
        except EOFError:
            os._exit(0)
        try:
            answer: tuple[bool, Any] = True, getattr(client, name)(*arguments, **options)
        except Exception as error:  # noqa: BLE001 - the test raises it
            answer = False, repr(error)
        pickle.dump(answer, pipe)
        pipe.flush()


if __name__ == "__main__":
    main()
