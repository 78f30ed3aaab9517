"""The node's parameters, declared by the contract, and what they are now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from apdepth_deploy.errors import UsageError

from .contract import PARAMETERS, ParameterRule


def declare(node: Node) -> Mapping[str, Any]:
    """Declares all, and returns their values, which follow later changes.

    Raises UsageError for a value that the command line or a file gives and the contract forbids.
    """
    values: dict[str, Any] = {}
    for name, rule in PARAMETERS.items():
        anything = ParameterDescriptor(dynamic_typing=True)
        node.declare_parameter(name, rule.default, anything)
        values[name] = rule.checked(node.get_parameter(name).value)
        node.undeclare_parameter(name)  # rclpy takes no whole number for a floating-point one
        node.declare_parameter(name, values[name], _descriptor(rule), ignore_override=True)

    def whole_numbers(parameters: list[Parameter]) -> list[Parameter]:
        return [_as_declared(parameter) for parameter in parameters]

    def check(parameters: list[Parameter]) -> SetParametersResult:
        try:
            for one in parameters:
                if one.name in PARAMETERS:
                    PARAMETERS[one.name].checked(one.value)
        except UsageError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def take(parameters: list[Parameter]) -> None:
        values.update({one.name: one.value for one in parameters if one.name in PARAMETERS})

    node.add_pre_set_parameters_callback(whole_numbers)
    node.add_on_set_parameters_callback(check)
    node.add_post_set_parameters_callback(take)
    return values


def _as_declared(parameter: Parameter) -> Parameter:
    rule = PARAMETERS.get(parameter.name)
    if rule is not None and rule.type == "double" and type(parameter.value) is int:
        return Parameter(parameter.name, value=float(parameter.value))
    return parameter


def _descriptor(rule: ParameterRule) -> ParameterDescriptor:
    found = ParameterDescriptor(
        description=rule.words,
        read_only=rule.read_only,
        additional_constraints=", ".join(repr(one) for one in rule.choices),
    )
    if rule.type == "integer":
        found.integer_range = [IntegerRange(from_value=int(rule.low), to_value=int(rule.high))]
    if rule.type == "double":
        found.floating_point_range = [FloatingPointRange(from_value=rule.low, to_value=rule.high)]
    return found
