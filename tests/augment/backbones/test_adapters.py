"""LoRA weights and textual-inversion embeddings: loaded as diffusers loads them, and part of the identity."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from safetensors.torch import save_file

from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.start import Start
from augment.errors import UserError


@pytest.fixture(scope="module")
def owl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A textual-inversion embedding of the token <owl>, as wide as the tiny text encoder."""
    file = tmp_path_factory.mktemp("embeddings") / "owl.safetensors"
    save_file({"<owl>": torch.randn(32, generator=torch.Generator().manual_seed(0))}, file)
    return file


@torch.no_grad()
def test_lora_weights_act_as_in_diffusers(model_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    peft = pytest.importorskip("peft", reason="LoRA weights need peft")
    pipe = StableDiffusionPipeline.from_pretrained(model_folder, safety_checker=None).to(dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.add_adapter(peft.LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    layers = convert_state_dict_to_diffusers(peft.get_peft_model_state_dict(pipe.unet))
    StableDiffusionPipeline.save_lora_weights(tmp_path / "lora", unet_lora_layers=layers)

    plain, tuned = (
        StableDiffusion(str(model_folder)),
        StableDiffusion(str(model_folder), loras=[str(tmp_path / "lora")]),
    )
    latents = torch.randn(1, *plain.latent_shape, generator=torch.Generator().manual_seed(0))
    theirs = pipe(
        "a cat", latents=latents, num_inference_steps=3, guidance_scale=2.0, height=16, width=16, output_type="latent"
    ).images
    start = Start(latents, ("a cat",))
    assert (tuned.denoise(start, 3, 2.0) - theirs).abs().max() <= 1e-4
    assert (plain.denoise(start, 3, 2.0) - theirs).abs().max() > 1e-2
    assert tuned.identity.startswith(f"{plain.identity}+pytorch_lora_weights@")


@torch.no_grad()
def test_an_embedding_gives_its_token_a_meaning(model_folder: Path, owl: Path) -> None:
    plain, taught = StableDiffusion(str(model_folder)), StableDiffusion(str(model_folder), embeddings=[str(owl)])
    embeddings = [backbone.condition(["a <owl>", "a cat"]).embeddings for backbone in (plain, taught)]
    assert (embeddings[0][0] - embeddings[1][0]).abs().max() > 0.1
    torch.testing.assert_close(embeddings[0][1], embeddings[1][1], atol=1e-5, rtol=1e-5)
    number = taught.pipeline.tokenizer.convert_tokens_to_ids("<owl>")
    row = taught.pipeline.text_encoder.get_input_embeddings().weight[number]
    torch.testing.assert_close(row, torch.randn(32, generator=torch.Generator().manual_seed(0)), atol=1e-3, rtol=1e-2)


def test_the_identity_is_the_embeddings_content(model_folder: Path, owl: Path, tmp_path: Path) -> None:
    def identity(file: Path) -> str:
        return StableDiffusion(str(model_folder), embeddings=[str(file)]).identity

    same = tmp_path / "owl.safetensors"
    same.write_bytes(owl.read_bytes())
    assert identity(same) == identity(owl)
    save_file({"<owl>": torch.ones(32)}, same)
    assert identity(same) != identity(owl)


def test_an_embedding_of_another_width_does_not_fit(model_folder: Path, tmp_path: Path) -> None:
    save_file({"<owl>": torch.ones(48)}, tmp_path / "wide.safetensors")
    with pytest.raises(UserError, match=r"backbone\.embeddings: '.*wide\.safetensors' does not fit the model") as error:
        StableDiffusion(str(model_folder), embeddings=[str(tmp_path / "wide.safetensors")]).load()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["owl.pt", "owl.bin"])
def test_pickled_embeddings_are_refused(model_folder: Path, tmp_path: Path, name: str) -> None:
    torch.save({"<owl>": torch.ones(32)}, tmp_path / name)
    match = rf"'.*{name}' is no safetensors file, and pickled weights are never read"
    with pytest.raises(UserError, match=match):
        StableDiffusion(str(model_folder), embeddings=[str(tmp_path / name)])


def test_a_folder_with_two_embeddings_is_no_choice(model_folder: Path, owl: Path, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.safetensors").write_bytes(owl.read_bytes())
    with pytest.raises(UserError, match=r"holds 2 safetensors files, not one, .*; name the file"):
        StableDiffusion(str(model_folder), embeddings=[str(tmp_path)])


@pytest.mark.usefixtures("no_network")
def test_an_embedding_that_is_nowhere(model_folder: Path) -> None:
    with pytest.raises(UserError, match=r"backbone\.embeddings: no network, and 'nobody/owl' is not on this machine"):
        StableDiffusion(str(model_folder), embeddings=["nobody/owl"])


@torch.no_grad()
def test_a_backbone_beside_one_with_a_tuning(model_folder: Path, tmp_path: Path) -> None:
    """Each has weights of its own, and the first is as it was."""
    plain = StableDiffusion(str(model_folder))
    before = plain.condition(["a cat"]).embeddings
    other = plain.with_tuning(None)
    assert other.identity == plain.identity and other.latent_shape == plain.latent_shape
    other.pipeline.text_encoder.get_input_embeddings().weight.zero_()
    other.forget_prompts()
    plain.forget_prompts()
    assert torch.equal(plain.condition(["a cat"]).embeddings, before)
    assert not torch.equal(other.condition(["a cat"]).embeddings, before)
