from __future__ import annotations

import re

import pytest

from buildsystem import options
from buildsystem.pin import ROOT, VENDOR


def translated(text: str) -> tuple[str, list[str]]:
    warnings: list[str] = []
    return options.translate_text(text, warnings.append), warnings


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-DLLAMA_CUBLAS=on", "-DGGML_CUDA=on"),
        ("-DLLAMA_CUDA=ON", "-DGGML_CUDA=ON"),
        ("-DLLAMA_METAL=off", "-DGGML_METAL=off"),
        ("-DLLAMA_VULKAN=1", "-DGGML_VULKAN=1"),
        ("-DLLAMA_HIPBLAS=on", "-DGGML_HIP=on"),
        ("-DLLAMA_BLAS:BOOL=ON", "-DGGML_BLAS:BOOL=ON"),
        ("-DLLAMA_OPENBLAS=ON", "-DGGML_BLAS=ON -DGGML_BLAS_VENDOR=OpenBLAS"),
        ("-DLLAMA_OPENBLAS=OFF", "-DGGML_BLAS=OFF"),
        ("-DLLAMA_NATIVE=OFF", "-DGGML_NATIVE=OFF"),
        ("-D LLAMA_CUDA=ON", "-DGGML_CUDA=ON"),
    ],
)
def test_old_spellings_are_translated_with_a_warning(old: str, new: str) -> None:
    text, warnings = translated(f"-GNinja {old} -DOTHER='a b'")
    assert text == f"-GNinja {new} '-DOTHER=a b'"
    assert len(warnings) == 1
    assert "is now called -DGGML_" in warnings[0]


@pytest.mark.parametrize("text", ["", "-DGGML_CUDA=on", "-DCMAKE_CUDA_ARCHITECTURES=86 -DLLAMA_CUDA_ARCH=86 -Wno-dev"])
def test_others_pass_unchanged(text: str) -> None:
    assert translated(text) == (text, [])


def test_new_spelling_wins_over_the_old_one() -> None:
    text, warnings = translated("-DLLAMA_CUDA=off -DGGML_CUDA=on")
    assert text == "-DGGML_CUDA=on"
    assert "wins" in warnings[0]


def test_what_is_gone_says_what_to_use() -> None:
    with pytest.raises(options.OptionError, match="GGML_VULKAN"):
        translated("-DLLAMA_CLBLAST=on")
    assert translated("-DLLAMA_CLBLAST=off -DX=1") == ("-DX=1", [])


def test_a_cpu_feature_is_not_ignored() -> None:
    text, warnings = translated("-DLLAMA_AVX512=ON")
    assert text == "-DGGML_AVX512=ON -DGGML_CPU_ALL_VARIANTS=OFF"
    assert "GGML_AVX512" in warnings[1]
    assert translated("-DGGML_NATIVE=ON -DGGML_AVX2=ON") == ("-DGGML_NATIVE=ON -DGGML_AVX2=ON", [])


def test_every_translation_leads_to_an_option_of_the_vendored_version() -> None:
    text = (ROOT / VENDOR / "ggml/CMakeLists.txt").read_text(encoding="utf-8")
    known = set(re.findall(r"^\s*(?:option|set)\s*\(\s*(\w+)", text, re.MULTILINE))
    backends = (ROOT / VENDOR / "ggml/src/CMakeLists.txt").read_text(encoding="utf-8")
    known |= {f"GGML_{name}" for name in re.findall(r"^ggml_add_backend\((\w+)\)", backends, re.MULTILINE)}
    implied = {word.removeprefix("-D").partition("=")[0] for word in options.IMPLIED.values()}
    assert {*options.RENAMED.values(), *implied} - known == set()
    assert known.isdisjoint(options.RENAMED)


def test_each_set_of_options_has_its_build_folder() -> None:
    folders = {options.build_folder(a) for a in ([], ["-DGGML_CUDA=on"], ["-DGGML_CUDA=on", "-DX=1"])}
    assert len(folders) == 3
    assert options.build_folder([]) == "build/native"
    assert options.build_folder(["-DGGML_CUDA=on"]) == options.build_folder(["-DGGML_CUDA=on"])
