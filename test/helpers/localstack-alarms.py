"""Lets LocalStack's evaluator of CloudWatch alarms find the state of alarms on given series.

Reads a list of {m, n, treatment, comparison, threshold, previous, values} from standard input, values being those of
the periods, oldest first, null where nothing was measured; writes the list of states. What the evaluator asks AWS's
API for is answered here, so that neither a server nor the rest of LocalStack is needed.
"""

import json
import sys
import types


def module(name, **members):
    made = types.ModuleType(name)
    made.__dict__.update(members)
    sys.modules[name] = made


class StateValue:
    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


module(
    "localstack.aws.api.cloudwatch",
    MetricAlarm=dict,
    MetricDataQuery=dict,
    MetricStat=dict,
    StateValue=StateValue,
)
module("localstack.aws.connect", connect_to=None)
module("localstack.utils.aws", arns=None, aws_stack=None)
module("localstack.utils.scheduler", Scheduler=object)

from localstack.services.cloudwatch import alarm_scheduler  # noqa: E402

OPERATORS = {
    ">": "GreaterThanThreshold",
    ">=": "GreaterThanOrEqualToThreshold",
    "<": "LessThanThreshold",
    "<=": "LessThanOrEqualToThreshold",
}


class Client:
    """The values, newest period first, one for each call."""

    def __init__(self, case):
        self.state = case["previous"]
        self.newest_first = iter(reversed(case["values"]))

    def get_metric_data(self, **_):
        value = next(self.newest_first, None)
        return {"MetricDataResults": [{"Values": [] if value is None else [value]}]}

    def set_alarm_state(self, StateValue, **_):
        self.state = StateValue


def state_of(case):
    client = Client(case)
    details = {
        "AlarmName": "alarm",
        "StateValue": case["previous"],
        "MetricName": "metric",
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": case["n"],
        "DatapointsToAlarm": case["m"],
        "TreatMissingData": case["treatment"],
        "ComparisonOperator": OPERATORS[case["comparison"]],
        "Threshold": case["threshold"],
    }
    alarm_scheduler.get_metric_alarm_details_for_alarm_arn = lambda _: details
    alarm_scheduler.get_cloudwatch_client_for_region_of_alarm = lambda _: client
    alarm_scheduler.calculate_alarm_state("arn")
    return client.state


json.dump([state_of(case) for case in json.load(sys.stdin)], sys.stdout)
