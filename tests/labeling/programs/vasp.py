"""Stands in for VASP: reads INCAR, KPOINTS, POTCAR and POSCAR as they are, holds them against each other as VASP
would, puts a Morse potential in the place of DFT, and answers in VASP's own formats.

STANDIN chooses how it ends: "" well, "unconverged", "killed" in mid-run, "truncated" output, "vasp5" (out of
steps, and says that EDIFF is reached all the same).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from ase.io import read
from ase.units import GPa

from tentpole.labeling.mock import morse


def incar() -> dict[str, str]:
    pairs = (line.split("=", 1) for line in Path("INCAR").read_text().splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def potcar() -> list[tuple[str, float]]:
    found, symbol = [], ""
    for line in Path("POTCAR").read_text().splitlines():
        if "TITEL" in line:
            symbol = line.split("=")[1].split()[1].split("_")[0]
        elif "ZVAL" in line:
            found.append((symbol, float(line.split("ZVAL")[1].split("=")[1].split()[0])))
    return found


def magmom(text: str, atoms: int) -> list[float]:
    """MAGMOM as VASP reads it: n*value, 1 µB each where there is none, and no more and no fewer than atoms."""
    pairs = [word.split("*") if "*" in word else ["1", word] for word in text.split()]
    found = [float(value) for count, value in pairs for _ in range(int(count))] if pairs else [1.0] * atoms
    if len(found) != atoms:
        sys.exit(f"{len(found)} moments for {atoms} atoms")
    return found


def kpoints() -> list[int]:
    lines = Path("KPOINTS").read_text().splitlines()
    if lines[1].strip() != "0" or lines[2].strip()[0] not in "GgMm":
        sys.exit("KPOINTS: not an automatic grid")
    return [int(word) for word in lines[3].split()]


def rows(values: np.ndarray) -> str:
    return "".join("<v>" + " ".join(f"{x:.10f}" for x in row) + "</v>\n" for row in values)


def main() -> None:
    ends = os.environ.get("STANDIN", "")
    settings, atoms, potentials, grid = incar(), read("POSCAR"), potcar(), kpoints()
    order = list(dict.fromkeys(atoms.get_chemical_symbols()))
    if [symbol for symbol, _ in potentials] != order:
        sys.exit(f"POTCAR has {potentials}, POSCAR has {order}")
    neutral = sum(valence * atoms.get_chemical_symbols().count(symbol) for symbol, valence in potentials)
    electrons = float(settings.get("NELECT", neutral))
    if settings.get("ISPIN", "1") == "1" and electrons % 2:
        sys.exit("odd electrons without spin")
    steps, limit = 7, int(settings.get("NELM", 60))
    if ends in ("unconverged", "vasp5") and settings.get("ALGO") != "All":
        steps = limit
    results = morse(atoms, 1.0, 1.5, 5.0)
    energy, forces, stress = results["energy"], results["forces"], results["stress"]

    outcar = [
        " vasp.6.4.2 20Jul23 (build of a stand-in) complex",
        f"   NELM   = {limit:6d};   NELMIN=  2; NELMDL= -5     # of ELM steps",
        f"   EDIFF  = {float(settings['EDIFF']):.1E}   stopping-criterion for ELM",
        f"   NELECT =   {electrons:12.4f}    total number of electrons",
        f"   k-points           NKPTS = {np.prod(grid):6d}   number of bands    NBANDS=     16",
    ]
    for step in range(1, steps + 1):
        outcar.append(f"--------------------- Iteration      1({step:4d})  ---------------------")
        change = 10.0**-step if ends not in ("unconverged",) else 0.5
        outcar.append(f" total energy-change (2. order) : {change:.7E}  ({-change:.7E})")
        if ends == "killed" and step == 3:
            Path("OUTCAR").write_text("\n".join(outcar) + "\n")
            os.kill(os.getpid(), signal.SIGKILL)
    if ends == "unconverged" and steps == limit:
        outcar.append("------------------------ aborting loop EDIFF was not reached (unconverged) -------------")
    else:
        outcar.append("------------------------ aborting loop because EDIFF is reached ------------------------")
    if settings.get("ISPIN") == "2":
        sites = [0.9 * moment for moment in magmom(settings.get("MAGMOM", ""), len(atoms))]
        moment = float(settings.get("NUPDOWN", sum(sites)))
        outcar.append(f" number of electron  {electrons:12.7f} magnetization {moment:12.7f}")
        if int(settings.get("LORBIT", 0)) >= 10:
            rule = "-" * 42
            outcar += ["", "", " magnetization (x)", " ", "# of ion       s       p       d       tot", rule]
            outcar += [f"{i:5d}   {0:8.3f}{0:8.3f}{m:8.3f}{m:8.3f}" for i, m in enumerate(sites, start=1)]
            outcar += [rule + "--------", f"tot     {0:8.3f}{0:8.3f}{sum(sites):8.3f}{sum(sites):8.3f}", " "]
    outcar.append(" E-fermi :   1.2345     XC(G=0):  -9.0     alpha+bet : -8.0")
    outcar.append(f"  free  energy   TOTEN  = {energy:18.8f} eV")
    outcar.append(" General timing and accounting informations for this job:")
    outcar.append("                  Total CPU time used (sec):        0.100")
    text = "\n".join(outcar) + "\n"

    smeared = energy + 0.25  # E(sigma→0) differs from the free energy: labels must take the latter
    inside = (
        f'<i name="e_fr_energy">{energy:.10f}</i><i name="e_wo_entrp">{energy + 0.5:.10f}</i>'
        f'<i name="e_0_energy">{smeared:.10f}</i>'
    )
    structure = (
        f'<crystal><varray name="basis">\n{rows(atoms.cell.array)}</varray></crystal>'
        f'<varray name="positions">\n{rows(atoms.get_scaled_positions(wrap=False))}</varray>'
    )
    species = "".join(f"<rc><c>{s}</c><c>1</c></rc>" for s in atoms.get_chemical_symbols())
    tensor = np.array([stress[[0, 5, 4]], stress[[5, 1, 3]], stress[[4, 3, 2]]]) / (-0.1 * GPa)
    xml = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<kpoints><generation param="Gamma"><v type="int" name="divisions">{grid[0]} {grid[1]} {grid[2]}</v></generation>
<varray name="kpointlist"><v>0.0 0.0 0.0</v></varray><varray name="weights"><v>1.0</v></varray></kpoints>
<parameters><separator name="electronic"><i name="NELECT">{electrons}</i>
<i type="int" name="ISPIN">{settings.get("ISPIN", "1")}</i></separator></parameters>
<atominfo><atoms>{len(atoms)}</atoms><array name="atoms"><set>{species}</set></array></atominfo>
<structure name="initialpos">{structure}</structure>
<calculation><scstep><energy>{inside}</energy></scstep>
<structure>{structure}</structure>
<varray name="forces">
{rows(forces)}</varray>
<varray name="stress">
{rows(tensor)}</varray>
<energy>{inside}</energy><dos><i name="efermi">1.2345</i></dos></calculation>
</modeling>
"""
    if ends == "truncated":
        text, xml = text[: text.index(" General")], xml[: xml.index("</calculation>")]
    Path("OUTCAR").write_text(text)
    Path("vasprun.xml").write_text(xml)
    Path("CONTCAR").write_text(Path("POSCAR").read_text())
    seen = {
        "incar": settings,
        "grid": grid,
        "electrons": electrons,
        "symbols": order,
        "cell": atoms.cell.lengths().tolist(),
    }
    if "STANDIN_SEEN" in os.environ:
        Path(os.environ["STANDIN_SEEN"]).write_text(json.dumps(seen))


main()
