"""Member files: the same predictions as the pickle, nothing executed, damage noticed."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from support.small_models import small_models
from support.structures import ice, zundel
from tentpole.committee import Committee, import_model, mace_architecture, read_member, write_member
from tentpole.committee.mace_architecture import _template, hyperparameters, mace
from tentpole.committee.member_files import description_file, weights_file
from tentpole.errors import InputError, StateError


def mace_answers(model, atoms, stress):
    """Energy, forces and stress by mace's own data pipeline."""
    data, tools, geometric = mace("data"), mace("tools"), mace("tools.torch_geometric")
    dtype = next(model.parameters()).dtype
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        table = tools.AtomicNumberTable([int(z) for z in model.atomic_numbers])
        config = data.config_from_atoms(atoms)
        item = data.AtomicData.from_config(config, z_table=table, cutoff=float(model.r_max))
        batch = next(iter(geometric.dataloader.DataLoader([item], batch_size=1, shuffle=False)))
        out = model(batch.to_dict(), training=False, compute_stress=stress)
    finally:
        torch.set_default_dtype(before)
    return out["energy"].item(), out["forces"].numpy(), out["stress"]


def as_mace_reads(model):
    """The hyperparameters of a model by mace's own function, in a member file's words."""
    read = mace("tools.scripts_utils").extract_config_mace_model(model)
    plain = {key: value for key, value in read.items() if key in hyperparameters(model)}
    for key in ("hidden_irreps", "edge_irreps", "MLP_irreps"):
        plain[key] = None if plain[key] is None else str(plain[key])
    for key in ("interaction_cls", "interaction_cls_first", "readout_cls"):
        plain[key] = plain[key].__name__
    plain["gate"] = {torch.nn.functional.silu: "silu", torch.tanh: "tanh", None: None}[plain["gate"]]
    plain["distance_transform"] = plain["distance_transform"] or "None"
    return plain | {"atomic_numbers": plain["atomic_numbers"].tolist()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"pair_repulsion": True, "distance_transform": "Soft", "heads": ["a", "b"], "MLP_irreps": "4x0e"},
        {"gate": "tanh", "use_so3": True, "use_reduced_cg": False, "correlation": 3},
        {
            "interaction_cls": "RealAgnosticResidualNonLinearInteractionBlock",
            "interaction_cls_first": "RealAgnosticResidualNonLinearInteractionBlock",
            "readout_cls": "NonLinearBiasReadoutBlock",
            "use_last_readout_only": True,
            "use_agnostic_product": True,
            "apply_cutoff": False,
            "radial_MLP": [6, 4],
            "edge_irreps": "2x0e+2x1o",
            "use_edge_irreps_first": True,
        },
    ],
)  # fmt: skip
def test_hyperparameters_are_those_that_mace_reads_and_build_takes(members, changes):
    description = read_member(members / "member-0")[1]
    heads = len(changes.get("heads", ["Default"]))
    hyper = {**description["hyperparameters"], **changes}
    weights = {
        "atomic_energies_fn.atomic_energies": torch.zeros(heads, 2),
        "scale_shift.scale": torch.ones(heads),
        "scale_shift.shift": torch.zeros(heads),
    }
    built = _template("ScaleShiftMACE", json.dumps(hyper), "float64", tuple(w.shape for w in weights.values()), True)
    assert hyperparameters(built) == as_mace_reads(built)
    assert hyperparameters(built) == hyper


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
def test_a_pickled_model_imported_predicts_the_same(tmp_path, members, dtype, tolerance):
    from e3nn import o3

    modules = mace("modules")
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:  # as mace's training command makes it, TorchScript and all
        torch.manual_seed(3)
        model = modules.ScaleShiftMACE(
            r_max=4.5,
            num_bessel=5,
            num_polynomial_cutoff=3,
            max_ell=2,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticDensityInteractionBlock"],
            num_interactions=2,
            num_elements=2,
            hidden_irreps=o3.Irreps("4x0e+4x1o"),
            MLP_irreps=o3.Irreps("8x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.array([-13.6, -2041.8]),
            avg_num_neighbors=5.7,
            atomic_numbers=[1, 8],
            correlation=2,
            radial_MLP=[16, 16],
            distance_transform="Agnesi",
            atomic_inter_scale=0.8,
            atomic_inter_shift=0.1,
        )
    finally:
        torch.set_default_dtype(before)
    assert hyperparameters(model) == as_mace_reads(model)
    file = tmp_path / "some.model"
    torch.save(model, file)
    stem = import_model(file, tmp_path / "member", trust=True)
    committee = Committee.load([stem])
    for atoms, stress in ((zundel(), False), (ice(), True)):
        energy, forces, virial = mace_answers(model, atoms, stress)
        ours = committee.evaluate([atoms], stress=stress)
        assert ours.energies[0, 0] == pytest.approx(energy, rel=1e-14 if dtype == "float64" else 2e-7)
        np.testing.assert_allclose(ours.forces[0][0], forces, atol=tolerance)
        if stress:
            s = virial.numpy()[0]
            voigt = [s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]]
            np.testing.assert_allclose(ours.stresses[0, 0], voigt, atol=tolerance)


def test_a_pickle_is_refused_without_trust_and_nothing_of_it_runs(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    for name in ("evil.model", "evil.safetensors", "evil"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match=r"tentpole models import .*evil\.model --trust"):
        import_model(tmp_path / "evil.model")
    with pytest.raises(InputError, match="--trust"):
        Committee.load([tmp_path / "evil.model"])
    with pytest.raises(InputError, match="--trust"):
        Committee.load(tmp_path / "evil")
    with pytest.raises(InputError):
        Committee.load(tmp_path)  # a folder with nothing but pickles
    assert not (tmp_path / "sprung").exists()


def test_the_trap_itself_works_so_that_the_test_above_means_something(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "evil.model").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError):
        import_model(tmp_path / "evil.model", trust=True)
    assert (tmp_path / "sprung").exists()


def test_weights_are_checked_against_their_checksum(tmp_path, members):
    model, content = read_member(members / "member-0")
    stem = tmp_path / "copy"
    write_member(stem, model, training=content["training"])
    assert json.loads(description_file(stem).read_text())["training"] == {"seed": 0, "untrained": True}
    blob = bytearray(weights_file(stem).read_bytes())
    blob[-3] ^= 1
    weights_file(stem).write_bytes(blob)
    with pytest.raises(StateError, match="checksum"):
        Committee.load([stem])
    weights_file(stem).unlink()
    with pytest.raises(StateError, match="missing"):
        Committee.load([stem])


def test_weights_that_are_no_safetensors_file_are_named(tmp_path, members):
    model, _ = read_member(members / "member-0")
    path = write_member(tmp_path / "m", model)
    weights_file(path).write_bytes(b"not weights")
    content = {k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"}
    path.write_text(json.dumps(content | {"sha256": hashlib.sha256(b"not weights").hexdigest()}))
    with pytest.raises(StateError, match=r"m\.safetensors: no safetensors file"):
        Committee.load(path)


@pytest.mark.parametrize("key", ["model", "hyperparameters", "dtype", "heads", "voting", "sha256"])
def test_a_description_that_lacks_something_says_what(tmp_path, members, key):
    content = json.loads((members / "member-0.json").read_text())
    path = tmp_path / "m.json"
    path.write_text(json.dumps({k: v for k, v in content.items() if k not in (key, "checksum")}))
    with pytest.raises(StateError, match=f"it lacks {key}"):
        Committee.load(path)


def test_a_copy_is_no_second_member(tmp_path, members):
    for name in ("member-0", "member-1"):
        for ending in (".json", ".safetensors"):
            shutil.copy(members / f"member-0{ending}", tmp_path / f"{name}{ending}")
    with pytest.raises(InputError, match=r"member-1\.safetensors holds the same weights as .*member-0"):
        Committee.load([tmp_path / "member-0", tmp_path / "member-1"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("interaction_cls", "os.system", "unknown interaction_cls"),
        ("gate", "eval", "unknown gate"),
        ("distance_transform", "evil", "unknown distance_transform"),
        ("readout_cls", "LinearDipoleReadoutBlock", "unknown readout_cls"),
        ("max_ell", 2, "do not fit"),
        ("surprise", 1, "unknown hyperparameter"),
        ("correlation", 12, "correlation = 12: a whole number from 1 to 5"),
        ("num_interactions", 1_000_000, "num_interactions"),
        ("max_ell", True, "max_ell"),
        ("hidden_irreps", "100000000x0e", "100000000 numbers per atom"),
        ("hidden_irreps", "1e8x0e", "terms such as"),
        ("MLP_irreps", "16x40e", "terms such as"),
        ("r_max", float("inf"), "r_max = inf"),
        ("r_max", 1e6, "r_max"),
        ("avg_num_neighbors", 0.0, "avg_num_neighbors = 0.0"),
        ("radial_MLP", [10**9], "radial_MLP"),
        ("atomic_numbers", [8, 1], "they must rise"),
        ("heads", [], "heads"),
    ],
)
def test_names_and_sizes_outside_the_tables_are_refused(tmp_path, members, key, value, message):
    model, _ = read_member(members / "member-0")
    path = write_member(tmp_path / "m", model)
    content = {k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"}
    content["hyperparameters"][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        Committee.load(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hyperparameters", [1], "a table is wanted"),
        ("r_max", "x", "r_max = 'x', but"),
        ("atomic_numbers", [], r"atomic_numbers = \[\], but"),
        ("E0s", {"Default": {"1": float("nan")}}, "nan of element 1 in head Default is not finite"),
    ],
)
def test_a_description_that_contradicts_its_model_is_refused(tmp_path, members, key, value, message):
    model, _ = read_member(members / "member-0")
    path = write_member(tmp_path / "m", model)
    content = {k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"}
    path.write_text(json.dumps({**content, key: value}))
    with pytest.raises((InputError, StateError), match=message):
        Committee.load(path)


def test_a_description_nested_without_end_and_energies_of_another_shape_are_refused(tmp_path, members):
    from safetensors.torch import load, save

    model, _ = read_member(members / "member-0")
    path = write_member(tmp_path / "m", model)
    weights = load(weights_file(path).read_bytes())
    blob = save(weights | {"atomic_energies_fn.atomic_energies": torch.zeros(3, 3, 3)})
    weights_file(path).write_bytes(blob)
    content = {k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"}
    path.write_text(json.dumps({**content, "sha256": hashlib.sha256(blob).hexdigest()}))
    with pytest.raises(InputError, match=r"atomic_energies has shape \(3, 3, 3\)"):
        Committee.load(path)
    path.write_text("[" * 100_000)
    with pytest.raises(StateError, match="damaged"):
        Committee.load(path)


def test_another_version_or_format_is_refused(tmp_path, members):
    model, _ = read_member(members / "member-0")
    path = write_member(tmp_path / "m", model)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "version": 2}))
    with pytest.raises(StateError, match="version 2"):
        Committee.load(path)
    path.write_text(json.dumps({"some": "json"}))
    with pytest.raises(InputError, match="no member"):
        Committee.load(path)
    with pytest.raises(InputError, match="no model at"):
        Committee.load(tmp_path / "absent")


@pytest.mark.slow
def test_importing_and_loading_leave_torch_as_careful_as_it_was(members):
    program = f"""
import os, sys
import tentpole, tentpole.committee
assert "torch" not in sys.modules and "mace" not in sys.modules
tentpole.committee.Committee.load({str(members)!r})
import torch, e3nn
assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
assert torch.get_default_dtype() is torch.float32
assert e3nn.get_optimization_defaults()["jit_script_fx"] is True
import inspect
inspect.getmodule(inspect.currentframe())  # looks at every module
heavy = {{"torchmetrics", "pandas", "matplotlib", "mace.tools.train"}}
assert "torch._dynamo.convert_frame" not in sys.modules
assert not heavy & set(sys.modules), heavy & set(sys.modules)
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
import mace.tools.scripts_utils, mace.modules, scipy.signal
from mace import tools
from mace.tools import AtomicNumberTable, train
assert heavy <= set(sys.modules) and callable(train) and train is tools.train is not sys.modules["mace.tools.train"]
assert AtomicNumberTable is mace.tools.utils.AtomicNumberTable and type(tools) is type(os)
from scipy.signal import find_peaks
assert scipy.signal.find_peaks is find_peaks and torch._dynamo.config
assert "torch._dynamo.convert_frame" in sys.modules
"""
    clean = {k: v for k, v in os.environ.items() if k != "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"}
    done = subprocess.run([sys.executable, "-c", program], env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_loading_draws_no_random_numbers(members):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Committee.load(Path(members))
    assert torch.equal(torch.rand(3), expected)


def test_a_worker_that_makes_models_leaves_no_semaphore_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    from tqdm import tqdm

    monkeypatch.setattr(tqdm, "_lock", tqdm.get_lock())
    monkeypatch.setattr(mace_architecture, "parent_process", lambda: None)
    mace("modules.models")
    assert type(tqdm.get_lock()).__name__ == "TqdmDefaultWriteLock"  # in the user's own process it stays what it was
    monkeypatch.setattr(mace_architecture, "parent_process", lambda: "a driver")
    mace("modules.models")
    assert type(tqdm.get_lock()).__name__ == "RLock"


def reduced(irreps_in, irreps_out, correlation=2, dtype=None, **_):
    """As cuequivariance's basis, of fewer products than mace's own."""
    full = mace("tools.cg").U_matrix_real(irreps_in, irreps_out, correlation, dtype=dtype, use_cueq_cg=False)
    return [full[0], full[-1][..., : max(1, full[-1].shape[-1] // 2)]]


def new_model():
    """mace's choice of the basis is its own."""
    return small_models(1, max_ell=2, correlation=2)[0]


@pytest.fixture
def with_cuequivariance(monkeypatch):
    """As if it were installed: mace's basis of products is then another one unless told otherwise."""

    def install():
        for module in ("tools.cg", "modules.wrapper_ops"):
            monkeypatch.setattr(mace(module), "CUET_AVAILABLE", True)
        monkeypatch.setattr(mace("tools.cg"), "compute_U_cueq", reduced, raising=False)
        monkeypatch.setattr(mace_architecture.importlib.util, "find_spec", lambda name: name)
        _template.cache_clear()

    yield install
    _template.cache_clear()


@pytest.mark.slow
def test_a_member_loads_where_cuequivariance_is_installed_that_was_made_without(tmp_path, with_cuequivariance):
    write_member(tmp_path / "m", new_model(), training={})
    before = mace_answers(read_member(tmp_path / "m")[0], zundel(), False)
    with_cuequivariance()
    after = mace_answers(read_member(tmp_path / "m")[0], zundel(), False)
    assert after[0] == before[0]
    np.testing.assert_array_equal(after[1], before[1])


@pytest.mark.slow
def test_a_member_made_with_cuequivariance_says_that_it_needs_it(tmp_path, monkeypatch, with_cuequivariance):
    with_cuequivariance()
    write_member(tmp_path / "m", new_model(), training={})
    assert read_member(tmp_path / "m")[0].use_reduced_cg
    monkeypatch.undo()
    _template.cache_clear()
    with pytest.raises(InputError, match="pip install cuequivariance-torch"):
        read_member(tmp_path / "m")
