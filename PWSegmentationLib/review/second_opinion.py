"""What a segment's prompts and the image give by themselves: what the segment is held against."""

from __future__ import annotations

from collections.abc import Sequence

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.volume.volume import Volume


def second_opinion(volume: Volume, prompts: SegmentPrompts, others: Sequence[SegmentPrompts] = ()) -> Prediction | None:
    """The program's own answer, by its default method; None where there is nothing that it could answer.

    Where the network's weights are missing, the label alone answers.
    """
    from PWSegmentationLib.prediction.predict import predict
    from PWSegmentationLib.prediction.promptable import promptable_model
    from PWSegmentationLib.prompts.checks import check_placement

    if not prompts.has_positive:
        return None
    try:
        check_placement(prompts, volume.grid)
        model, _ = promptable_model()
        return predict(volume, prompts, [o for o in others if len(o)], model=model)
    except InputError:
        return None
