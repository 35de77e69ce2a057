"""Answers the launcher's calls to AWS as a test says; botocore's models check every word."""

from collections import Counter
from datetime import UTC, datetime
from functools import cache

import botocore.session
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from launcher.settings import Settings
from tests.launcher.limits import limits_with

NOW = 1_800_000_000.0
QUEUE = "arn:aws:batch:us-east-1:111122223333:job-queue/pi-jobs"
DEFINITION = "arn:aws:batch:us-east-1:111122223333:job-definition/pi-worker"
MACHINE = "arn:aws:states:us-east-1:111122223333:stateMachine:pi"
EXECUTION = "arn:aws:states:us-east-1:111122223333:execution:pi:this"
SETTINGS = Settings(
    stack="prod",
    deployment="pi",
    pack="pi",
    queue_url="https://sqs.us-east-1.amazonaws.com/111122223333/pi-tasks",
    queue_name="pi-tasks",
    job_queue=QUEUE,
    job_definition=DEFINITION,
    pause_parameter="/taskpacks/prod/paused/pi",
    excused_exit_codes=(75,),
    excused_reasons=("Host EC2*",),
    limits=limits_with(vcpus=2, max_vcpus=100_000, max_workers=50_000, breaker_failures=3),
)


def throttled(operation):
    return ClientError(
        {"Error": {"Code": "TooManyRequestsException", "Message": "Too Many Requests"}}, operation
    )


class FakeAws:
    """SQS, Batch, CloudWatch and Step Functions as far as the launcher asks them.

    Every request and every answer is held against botocore's model of it.
    """

    page = 2

    def __init__(self):
        self.now = NOW
        self.visible = self.in_flight = self.delayed = 0
        self.jobs = []
        self.children = {}
        self.metrics = {}
        self.parameters = {}
        self.executions = {EXECUTION: NOW}
        self.fails = {}
        self.calls = []
        self.seconds_per_call = 0.0

    def job(self, job_id, status, **more):
        self.jobs.append(
            {
                "jobId": job_id,
                "jobName": "pi",
                "status": status,
                "jobDefinition": f"{DEFINITION}:7",
                "createdAt": int((NOW - 600) * 1000),
                **more,
            }
        )

    def ended(self, job_id, seconds_ago, *, exit_code=1, seconds=60, **more):
        self.job(
            job_id,
            "SUCCEEDED" if exit_code == 0 else "FAILED",
            startedAt=int((NOW - seconds_ago - seconds) * 1000),
            stoppedAt=int((NOW - seconds_ago) * 1000),
            container={"exitCode": exit_code},
            **more,
        )

    def array(self, job_id, children, status="PENDING"):
        """An array job; children are (status, more) in the order of their index."""
        self.job(job_id, status, arrayProperties={"size": len(children)})
        self.children[job_id] = [
            {
                "jobId": f"{job_id}:{index}",
                "jobName": "pi",
                "status": child,
                "jobDefinition": f"{DEFINITION}:7",
                "createdAt": int((NOW - 600) * 1000),
                "arrayProperties": {"index": index},
                **more,
            }
            for index, (child, more) in enumerate(children)
        ]

    def __getitem__(self, service):
        return _Client(self, service)

    def called(self, operation):
        return [arguments for name, arguments in self.calls if name == operation]

    def get_parameters(self, Names):  # noqa: N803 - AWS's name
        known = [
            {"Name": name, "Value": self.parameters[name]}
            for name in Names
            if name in self.parameters
        ]
        unknown = [*{*Names} - {*self.parameters}]
        return {"Parameters": known} | ({"InvalidParameters": unknown} if unknown else {})

    def get_queue_attributes(self, **_):
        return {
            "Attributes": {
                "ApproximateNumberOfMessages": str(self.visible),
                "ApproximateNumberOfMessagesNotVisible": str(self.in_flight),
                "ApproximateNumberOfMessagesDelayed": str(self.delayed),
            }
        }

    def list_jobs(self, jobStatus, jobQueue=None, arrayJobId=None, nextToken="0", maxResults=100):  # noqa: N803 - AWS's names
        jobs = self.jobs if jobQueue else self.children[arrayJobId]
        found = [job for job in jobs if job["status"] == jobStatus]
        first, page = int(nextToken), min(self.page, maxResults)
        answer = {"jobSummaryList": found[first : first + page]}
        if len(found) > first + page:
            answer["nextToken"] = str(first + page)
        return answer

    def describe_jobs(self, jobs):
        return {
            "jobs": [
                {
                    **job,
                    "jobQueue": QUEUE,
                    "startedAt": 0,
                    "arrayProperties": {
                        **job["arrayProperties"],
                        "statusSummary": dict(
                            Counter(child["status"] for child in self.children[job["jobId"]])
                        ),
                    },
                }
                for job in self.jobs
                if job["jobId"] in jobs
            ]
        }

    def get_metric_data(self, MetricDataQueries, **_):  # noqa: N803 - AWS's name
        results = []
        for query in MetricDataQueries:
            stat = query["MetricStat"]
            points = self.metrics.get((stat["Metric"]["MetricName"], stat["Stat"]), {})
            results.append(
                {
                    "Id": query["Id"],
                    "StatusCode": "Complete",
                    "Timestamps": [datetime.fromtimestamp(NOW - ago, UTC) for ago in points],
                    "Values": list(points.values()),
                }
            )
        return {"MetricDataResults": results}

    def list_executions(self, **_):
        return {
            "executions": [
                {
                    "executionArn": arn,
                    "stateMachineArn": MACHINE,
                    "name": arn.rpartition(":")[2],
                    "status": "RUNNING",
                    "startDate": datetime.fromtimestamp(began, UTC),
                }
                for arn, began in self.executions.items()
            ]
        }


class _Client:
    def __init__(self, aws, service):
        self._aws = aws
        self._service = service

    def __getattr__(self, operation):
        model = _operations(self._service)[operation]

        def call(**arguments):
            self._aws.calls.append((operation, arguments))
            self._aws.now += self._aws.seconds_per_call
            validate_parameters(arguments, model.input_shape)
            if operation in self._aws.fails:
                raise self._aws.fails[operation]
            answer = getattr(self._aws, operation)(**arguments)
            validate_parameters(answer, model.output_shape)
            return answer

        return call


@cache
def _operations(service):
    model = botocore.session.get_session().get_service_model(service)
    return {xform_name(name): model.operation_model(name) for name in model.operation_names}
