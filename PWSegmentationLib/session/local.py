"""The engine that works in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.networks.device import choose_device
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.progress import Cancel, Progress, part_of, stop_if
from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts
from PWSegmentationLib.session.engine import FinetuneReport, Options, Request
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.volume import Volume

if TYPE_CHECKING:
    from PWSegmentationLib.prediction.promptable import PromptableModel


class LocalEngine:
    """Predicts and fine-tunes in this process.

    Parameters
    ----------
    device
        "cpu", "cuda", "cuda:1", "mps", ... or "auto": a GPU when there is one.
    """

    def __init__(self, device: str = "auto") -> None:
        self._wanted = device
        self._device: str | None = None
        self._volume: Volume | None = None

    @property
    def device(self) -> str:
        """The torch device in use. Raises `InputError` if the one asked for is not there."""
        if self._device is None:
            self._device = choose_device(self._wanted)
        return self._device

    def set_image(self, volume: Volume) -> None:
        """Make ``volume`` the one that later calls are about."""
        self._volume = volume

    def prepare(self) -> None:
        """Load what predictions need, so that the first one takes no longer than others: answer a click made up."""
        from PWSegmentationLib.prediction.predict import predict

        array = np.zeros((16, 16, 16), np.float32)
        array[4:12, 4:12, 4:12] = 1.0
        click = SegmentPrompts("prepared").with_prompt(Point((8.0, 8.0, 8.0)))
        promptable, _ = self._promptable(Options())
        predict(Volume.from_array(array, np.eye(4)), click, model=promptable, device=self.device)

    def relevant(self, request: Request, region: Region | None = None) -> tuple[SegmentPrompts, ...]:
        """The other segments' claims in ``region``, or in all that a look at the request's prompts may come to see."""
        from PWSegmentationLib.prediction.body_size import BodySize
        from PWSegmentationLib.prediction.view import competing
        from PWSegmentationLib.prediction.zoom import furthest

        grid = self._image().grid
        size = BodySize.of(grid)
        seen = region or furthest(size.prompts(request.segment), size.grid(grid))
        return competing(request.others, grid.crop(seen))

    def predict(
        self,
        request: Request,
        options: Options,
        *,
        model: Any = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Prediction:
        """Answer the request's prompts."""
        from PWSegmentationLib.prediction.predict import predict

        stop_if(cancel)
        promptable, note = self._promptable(options)
        fitted = None
        if promptable is None:
            fitted = model
        elif model is not None:
            promptable = model
        found = predict(
            self._image(),
            request.segment,
            request.others,
            method=options.method,
            sigma_mm=options.sigma_mm,
            network=fitted,
            model=promptable,
            earlier=request.earlier,
            device=self.device,
            progress=progress,
            cancel=cancel,
        )
        return replace(found, note=f"{note} {found.note}".strip())

    def _promptable(self, options: Options) -> tuple[PromptableModel | None, str]:
        """The promptable network; None where it is not asked for, or with a sentence where it cannot be used."""
        if not options.uses_network:
            return None, ""
        from PWSegmentationLib.prediction.promptable import promptable_model

        return promptable_model(self.device, options.model)

    def finetune(
        self,
        requests: Sequence[Request],
        options: Options,
        budget_s: float,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> dict[str, tuple[Any, FinetuneReport]]:
        """Fit one network per segment, each with an equal share of the budget."""
        promptable, _ = self._promptable(options)
        fitted: dict[str, tuple[Any, FinetuneReport]] = {}
        for index, request in enumerate(requests):
            stop_if(cancel if not fitted else None)
            share = part_of(progress, index / len(requests), (index + 1) / len(requests))
            fitted[request.segment.name] = self._fit(
                request, options, promptable, budget_s / len(requests), share, cancel
            )
        return fitted

    def _fit(
        self,
        request: Request,
        options: Options,
        promptable: PromptableModel | None,
        budget_s: float,
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> tuple[Any, FinetuneReport]:
        """The promptable network, adapted; where there is none, one from scratch."""
        from PWSegmentationLib.training.fine_tuning import adapt_segment, fit_segment

        common: dict[str, Any] = {
            "budget_s": budget_s,
            "device": self.device,
            "seed": options.seed,
            "progress": progress,
            "cancel": cancel,
        }
        model: Any
        report: Any
        if promptable is not None:
            model, report = adapt_segment(self._image(), request.segment, request.others, model=promptable, **common)
        else:
            model, report = fit_segment(
                self._image(),
                request.segment,
                request.others,
                method=options.method,
                sigma_mm=options.sigma_mm,
                samples=options.samples,
                **common,
            )
        finished = FinetuneReport(request.segment.name, model is not None, report.reason, report.steps, report.seconds)
        return model, finished

    def _image(self) -> Volume:
        if self._volume is None:
            raise InputError("There is no image yet: set one before placing prompts.")
        return self._volume
