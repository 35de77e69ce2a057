"""Pi by python-flint's ball arithmetic: every digit is proven, not only computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import flint

from taskpacks import BadInputError, storage
from taskpacks.errors import quoted

if TYPE_CHECKING:
    from celery import Celery, Task

    from taskpacks import WorkerContext

DIGITS_MAX: Final = 250_000_000
BYTES_PER_DIGIT: Final = 11
"""The memory at the peak of the calculation, as measured."""
INLINE_DIGITS_MAX: Final = 10_000
"""The digits that are returned in the result itself; result backends hold 400 KB at most."""
OUTPUT_VARIABLE: Final = "PI_OUTPUT"
"""URI of the folder for results without an output of their own: see infrastructure.py."""

_BITS_PER_DIGIT: Final = 3.3219280948873626
_TAIL_DIGITS: Final = 10


def calculate(
    context: WorkerContext, digits: int, output: str | None = None, *, task_id: str
) -> dict[str, Any]:
    """Calculates pi, truncated after `digits` decimals.

    Args:
        context: Where the task runs.
        digits: 1 to `DIGITS_MAX`.
        output: URI to write the digits to. None returns up to `INLINE_DIGITS_MAX` digits in
            the result and writes more to the deployment's own folder, if it has one.
        task_id: Names the object in that folder.

    Returns:
        "digits", and either "pi" or "output" and "last_digits" (the last ten).

    Raises:
        BadInputError: The number or the output cannot be used.
    """
    _check_digits(context, digits)
    if output is None and digits > INLINE_DIGITS_MAX:
        output = _default_output(context, digits, task_id)
    if output is None:
        return {"digits": digits, "pi": decimals(digits, _threads(context))}
    storage.check_destination(output, context.uri_schemes)
    text = decimals(digits, _threads(context))
    with context.scratch_folder() as folder:
        file = folder / "pi.txt"
        file.write_text(text, encoding="ascii")
        storage.publish(file, output, context.uri_schemes)
    return {"digits": digits, "output": output, "last_digits": text[2:][-_TAIL_DIGITS:]}


def decimals(digits: int, threads: int = 1) -> str:
    """Gives pi as "3." and exactly that many digits, truncated.

    Ball arithmetic gives bounds around pi. When both bounds, scaled by 10**digits, have the
    same floor, so has pi; else (a run of nines or zeros at the end) more bits decide.
    """
    flint.ctx.threads = threads
    guard_bits = 32
    while True:
        with flint.ctx.workprec(int(digits * _BITS_PER_DIGIT) + guard_bits):
            scaled = flint.arb.pi() * flint.arb(flint.fmpz(10) ** digits)
            low = scaled.lower().floor().unique_fmpz()
            high = scaled.upper().floor().unique_fmpz()
        if low is not None and low == high:
            # flint's own conversion: quasi-linear, and free of Python's limit on str(int).
            text = str(low)
            return f"{text[0]}.{text[1:]}"
        guard_bits *= 2


def register(app: Celery, context: WorkerContext) -> None:
    """Registers the pack's Celery task."""

    @app.task(name="pi.calculate", bind=True, shared=False)
    def calculate_(task: Task[Any, Any], digits: int, output: str | None = None) -> dict[str, Any]:
        return calculate(context, digits, output, task_id=str(task.request.id))

    del calculate_  # the app keeps it


def _check_digits(context: WorkerContext, digits: object) -> None:
    if isinstance(digits, bool) or not isinstance(digits, int):
        raise BadInputError(f"digits is {quoted(digits)}: it must be a whole number, such as 1000.")
    most = min(DIGITS_MAX, context.memory_budget_mib * 2**20 // BYTES_PER_DIGIT)
    if not 1 <= digits <= most:
        # Python refuses to print integers of more than 4300 digits.
        shown = digits if abs(digits) < 10**18 else f"a number of {digits.bit_length()} bits"
        raise BadInputError(
            f"digits is {shown}: it must be 1 to {most}, which is what a worker with "
            f"{context.memory_budget_mib} MiB can calculate; ask for a number in that range."
        )


def _default_output(context: WorkerContext, digits: int, task_id: str) -> str:
    folder = context.environment.get(OUTPUT_VARIABLE)
    if not folder:
        raise BadInputError(
            f"digits is {digits} without an output: a result holds {INLINE_DIGITS_MAX} at most "
            f"and the worker has no {OUTPUT_VARIABLE}; give output, a URI to write to."
        )
    return f"{folder}/{task_id}.txt"


def _threads(context: WorkerContext) -> int:
    # All of them: nothing else of the task's runs meanwhile.
    return max(1, int(context.vcpus))
