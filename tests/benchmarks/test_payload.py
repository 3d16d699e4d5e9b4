from __future__ import annotations

from benchmarks.payload import Fetched, chosen, tags

AT = "https://index.example/packages/"


def package(*wheels: str) -> dict[str, object]:
    return {"name": "x", "wheels": [{"url": AT + wheel} for wheel in wheels], "sdist": {"url": AT + "x-1.tar.gz"}}


def test_the_wheel_that_an_installer_would_take_is_the_one_that_counts() -> None:
    order = tags()
    wheels = (
        "x-1-py3-none-any.whl",
        "x-1-cp312-cp312-win_amd64.whl",
        "x-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "x-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "x-1-cp313-cp313-manylinux_2_28_x86_64.whl",
        "x-1-cp312-cp312-manylinux_2_40_x86_64.whl",
    )
    assert chosen(package(*wheels), order) == AT + wheels[3]
    assert chosen(package(*wheels[:3]), order) == AT + wheels[2]
    assert chosen(package(*wheels[:2]), order) == AT + wheels[0]
    assert chosen(package(wheels[1]), order) == AT + "x-1.tar.gz"


def test_bytes_are_those_of_all_files_and_of_the_code() -> None:
    fetched = Fetched({"tensorflow": 3_000_000, "nvidia-cudnn-cu12": 2_000_000, "nvidia-nccl-cu12": 1_000_000}, 500_000)
    assert fetched.megabytes == 6.5
    assert fetched.indispensable == 5
    assert fetched.largest == "tensorflow 3, nvidia-cudnn-cu12 2, nvidia-nccl-cu12 1"
