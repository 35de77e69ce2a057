"""AWS's limits, each with its unit in the name and its source beside it.

Facts only: the rules that use them stand in `taskpacks.types` (one deployment) and
`stack.settings` (a whole stack).
"""

from types import MappingProxyType
from typing import Final

# https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html
ARRAY_SIZE_MIN: Final = 2
ARRAY_SIZE_MAX: Final = 10_000
JOB_QUEUES_PER_REGION: Final = 50
COMPUTE_ENVIRONMENTS_PER_REGION: Final = 50
COMPUTE_ENVIRONMENTS_PER_JOB_QUEUE: Final = 3
JOB_DEFINITION_BYTES_MAX: Final = 24 * 1024

# https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html
JOB_TIMEOUT_SECONDS_MIN: Final = 60
JOB_KILL_SECONDS: Final = 30
"""Between SIGTERM and SIGKILL when Batch ends a job."""

# https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html
JOB_ATTEMPTS_MIN: Final = 1
JOB_ATTEMPTS_MAX: Final = 10

# https://docs.aws.amazon.com/batch/latest/APIReference/API_EvaluateOnExit.html
EVALUATE_ON_EXIT_MAX: Final = 5

# https://docs.aws.amazon.com/batch/latest/APIReference/API_JobStateTimeLimitAction.html
STATE_TIME_LIMIT_SECONDS_MIN: Final = 600
STATE_TIME_LIMIT_SECONDS_MAX: Final = 86_400

# https://docs.aws.amazon.com/batch/latest/APIReference/API_ResourceRequirement.html
# vCPUs -> the memory sizes in MiB that Fargate pairs with them.
FARGATE_MEMORY_MIB_BY_VCPUS: Final = MappingProxyType(
    {
        0.25: (512, 1024, 2048),
        0.5: tuple(range(1024, 4096 + 1, 1024)),
        1.0: tuple(range(2048, 8192 + 1, 1024)),
        2.0: tuple(range(4096, 16384 + 1, 1024)),
        4.0: tuple(range(8192, 30720 + 1, 1024)),
        8.0: tuple(range(16384, 61440 + 1, 4096)),
        16.0: tuple(range(32768, 122880 + 1, 8192)),
    }
)

# https://docs.aws.amazon.com/batch/latest/APIReference/API_EphemeralStorage.html
FARGATE_SCRATCH_GIB_MIN: Final = 21
FARGATE_SCRATCH_GIB_MAX: Final = 200

# https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html
EBS_VOLUME_GIB_MAX: Final = 16_384
"""The size of a gp3 volume, wherever it is: some regions offer more."""

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
VISIBILITY_SECONDS_MAX: Final = 12 * 60 * 60
"""In total, from the first receive of a message."""
MESSAGE_RETENTION_SECONDS_MIN: Final = 60
MESSAGE_RETENTION_SECONDS_MAX: Final = 14 * 24 * 60 * 60
MAX_RECEIVES_MAX: Final = 1000
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html"""

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-batch-api-actions.html
MESSAGES_PER_CALL_MAX: Final = 10
"""Received, or deleted, in one call."""

PROCESSES_MAX: Final = 32
"""The most of one worker. It extends their messages' leases one after another, from a third of
the visibility time-out on: at 0.1 s each, and with the pauses of `worker.leases`, 32 take 5.5 s,
and the shortest has 6.7 s left then."""
PROCESSES_PER_VCPU_MAX: Final = 4
"""A task that computes gets a quarter of a vCPU then, and takes four times as long as the launcher
and the time limits are set for; a task that waits so much more than that has threads for it."""

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-items
ITEM_BYTES_MAX: Final = 400 * 1024
"""An item in DynamoDB, the names of its attributes included."""

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
METRIC_PERIOD_SECONDS: Final = 60
"""SQS publishes its metrics once a minute: a shorter period sees nothing more."""

# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
PARAMETER_CHARACTERS_MAX: Final = 8192
"""The length of an advanced SSM parameter; beyond 4096 it costs money."""

# https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-limits-endpoints.html
ENDPOINT_POLICY_CHARACTERS_MAX: Final = 20_480
"""The length of the policy of a VPC endpoint, white space included."""

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
FUNCTION_TIMEOUT_MAX_SECONDS: Final = 900
FUNCTION_MEMORY_MIN_MIB: Final = 128
FUNCTION_MEMORY_MAX_MIB: Final = 10_240
FUNCTION_ENVIRONMENT_MAX_BYTES: Final = 4096
