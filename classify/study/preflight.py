"""What is refused before a study runs? Rows that cannot work, and a folder that holds another study."""

from collections.abc import Sequence
from dataclasses import replace

from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageSource
from augment.synthesize.recipe import make_recipe
from augment.synthesize.synthesizer import Synthesizer
from classify.study.cells import Row
from classify.train.filter import load_filter


def check_rows(rows: Sequence[Row], synthesizer: Synthesizer, source: ImageSource, skip_bad: bool) -> None:
    """Refuse a row that cannot be run with its batches, its backbone or its fewest shots, before anything is.

    Raises:
        UserError: Naming the row and the number of shots.
    """
    for row in rows:
        try:
            row.batches.check(row.method is not None, processes=1)
        except UserError as error:
            raise UserError(f"methods: row '{row.name}': {error}") from error
        if row.method is None:
            if row.filter is not None:
                raise UserError(f"methods: row '{row.name}' has a filter, but no synthetic images; leave it out")
            continue
        shots = min(row.shots)
        try:
            few_shot = choose_few_shot_set(source, shots, 0, skip_bad=skip_bad)
            plan = replace(row.plan, batch_size=1)  # fits or not, whatever the batch size
            make_recipe(synthesizer, few_shot, row.method, 0, row.mixing, plan, row.settings)
            if row.filter is not None:
                load_filter(row.filter)
        except UserError as error:
            raise UserError(f"methods: row '{row.name}' at {shots} shots: {error}") from error
