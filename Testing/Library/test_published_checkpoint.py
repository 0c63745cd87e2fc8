"""A checkpoint of the paper's code gives the same logits here, and becomes a file that runs nothing."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from monai.networks.blocks import MLPBlock
from monai.networks.nets import UNETR
from torch import Tensor, nn

from PWSegmentationLib import Grid, InputError, Volume
from PWSegmentationLib.commandline.main import main
from PWSegmentationLib.networks.model_files import load_model, save_model
from PWSegmentationLib.networks.published_checkpoint import from_published, load_published
from PWSegmentationLib.prediction.trained_model import TrainedModel


class PairwiseAttention(nn.Module):
    """Attention as the paper describes it, pairs of tokens concatenated; names of the paper's code."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.out_proj = nn.Linear(hidden, hidden)
        self.qkv = nn.Linear(hidden, 3 * hidden, bias=False)
        self.fc_mu_var = nn.Linear(2 * hidden // heads, 2)

    def forward(self, x: Tensor) -> Tensor:
        b, n, hidden = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        pairs = torch.cat([q.unsqueeze(3).expand(-1, -1, -1, n, -1), k.unsqueeze(2).expand(-1, -1, n, -1, -1)], -1)
        mean, log_variance = self.fc_mu_var(pairs).unbind(-1)
        drawn = torch.softmax(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean), dim=-1)
        return self.out_proj((drawn @ v).transpose(1, 2).reshape(b, n, hidden))


class PublishedBlock(nn.Module):
    def __init__(self, hidden: int, mlp: int, heads: int, *_: object) -> None:
        super().__init__()
        self.mlp = MLPBlock(hidden, mlp)
        self.norm1 = nn.LayerNorm(hidden)
        self.attn = PairwiseAttention(hidden, heads)
        self.norm2 = nn.LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class FlatPatches(nn.Module):
    """'b c (h p1) (w p2) (d p3) -> b (h w d) (p1 p2 p3 c)', p = 16."""

    def forward(self, x: Tensor) -> Tensor:
        cells = x.unflatten(4, (-1, 16)).unflatten(3, (-1, 16)).unflatten(2, (-1, 16))
        return cells.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4).flatten(1, 3)


def published(window: int = 32, channels: int = 2) -> UNETR:
    torch.manual_seed(0)
    with patch("monai.networks.nets.vit.TransformerBlock", PublishedBlock):
        network = UNETR(channels, 3, window, feature_size=4, hidden_size=48, mlp_dim=64, num_heads=3)
    # MONAI's own "perceptron" embedding, without its need for einops.
    network.vit.patch_embedding.proj_type = "perceptron"
    network.vit.patch_embedding.patch_embeddings = nn.Sequential(FlatPatches(), nn.Linear(channels * 16**3, 48))
    return network.eval()


def as_saved(network: UNETR, prefix: str) -> dict[str, Tensor]:
    """The state dict with what older releases of MONAI had beside: unused convolutions and a class token."""
    state = {prefix + name: value for name, value in network.state_dict().items()}
    state[f"{prefix}encoder3.blocks.0.1.conv3.conv.weight"] = torch.randn(16, 16, 1, 1, 1)
    state[f"{prefix}vit.patch_embedding.cls_token"] = torch.zeros(1, 1, 48)
    return state


@pytest.mark.parametrize("prefix", ["", "module."])
def test_same_logits_for_the_same_noise(prefix: str, tmp_path: Path) -> None:
    theirs = published()
    torch.save({"epoch": 3, "best_acc": 0.5, "state_dict": as_saved(theirs, prefix)}, tmp_path / "model.pt")
    ours = load_published(tmp_path / "model.pt")
    x = torch.randn(1, 2, 32, 32, 32)
    with torch.no_grad():
        torch.manual_seed(7)
        expected = theirs(x)
        torch.manual_seed(7)
        logits = ours(x).logits
    torch.testing.assert_close(logits, expected, atol=2e-5, rtol=1e-4)


def test_converted_model_is_the_same_after_saving(tmp_path: Path) -> None:
    network = from_published(as_saved(published(), "module."))
    save_model(network, tmp_path / "model.safetensors", {"structures": {"a": 1}})
    again, card = load_model(tmp_path)
    x = torch.randn(1, 2, 32, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(x, sample=False).logits, again(x, sample=False).logits)
    assert card["structures"] == {"a": 1}
    assert card["architecture"]["config"]["mean"] == "paper"


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("trap-was-sprung"),))


def test_a_pickle_with_code_in_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"state_dict": Trap()}))
    with pytest.raises(InputError, match="cannot be read as plain weights"):
        load_published(tmp_path / "model.pt")
    assert not (tmp_path / "trap-was-sprung").exists()


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": nn.Linear(3, 3).state_dict()}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="another architecture"):
        load_published(tmp_path / "model.pt")
    state = as_saved(published(), "")
    state.pop("encoder2.blocks.0.1.conv1.conv.weight")
    with pytest.raises(InputError, match=r"another architecture \('skips.0"):
        from_published(state)


def test_a_changed_weight_file_is_refused(tmp_path: Path) -> None:
    save_model(from_published(published().state_dict()), tmp_path / "model.safetensors")
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="SHA-256"):
        load_model(tmp_path)


def test_a_card_of_another_network_is_refused(tmp_path: Path) -> None:
    save_model(from_published(published().state_dict()), tmp_path / "a.safetensors")
    card = save_model(from_published(published(window=48).state_dict()), tmp_path / "b.safetensors").read_text()
    document = json.loads(card)
    document["sha256"] = json.loads((tmp_path / "a.json").read_text())["sha256"]
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="another architecture"):
        load_model(tmp_path / "a.safetensors")


def test_converted_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": as_saved(published(channels=1), "module.")}, tmp_path / "model.pt")
    command = ["convert", str(tmp_path / "model.pt"), "-o", str(tmp_path / "out"), "--structure", "spleen"]
    assert main(command) == 2
    assert "3 output channels and 1 structures" in capsys.readouterr().err
    for spacing in ("-1", "0", "nan"):
        assert main([*command, f"--spacing={spacing}"]) == 2
        assert "give --spacing a number above 0" in capsys.readouterr().err
    assert main([*command, "--structure", "liver", "--structure", "aorta"]) == 0
    model = TrainedModel.load(tmp_path / "out")
    volume = Volume(np.random.default_rng(0).normal(size=(30, 32, 20)), Grid((30, 32, 20), np.eye(4)))
    assert model.segment(volume, draws=2).map("probability", "liver").shape == (30, 32, 20)
