"""Chemical formulas as amounts of elements, and the element data that descriptors are made of."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache

from ase.data import atomic_numbers

from tentpole.errors import InputError

# Pauling's scale, as the CRC Handbook of Chemistry and Physics revises it. He, Ne and Ar have no value.
_PAULING = """
H 2.20 Li 0.98 Be 1.57 B 2.04 C 2.55 N 3.04 O 3.44 F 3.98 Na 0.93 Mg 1.31 Al 1.61 Si 1.90 P 2.19 S 2.58
Cl 3.16 K 0.82 Ca 1.00 Sc 1.36 Ti 1.54 V 1.63 Cr 1.66 Mn 1.55 Fe 1.83 Co 1.88 Ni 1.91 Cu 1.90 Zn 1.65
Ga 1.81 Ge 2.01 As 2.18 Se 2.55 Br 2.96 Kr 3.00 Rb 0.82 Sr 0.95 Y 1.22 Zr 1.33 Nb 1.60 Mo 2.16 Tc 1.90
Ru 2.20 Rh 2.28 Pd 2.20 Ag 1.93 Cd 1.69 In 1.78 Sn 1.96 Sb 2.05 Te 2.10 I 2.66 Xe 2.60 Cs 0.79 Ba 0.89
La 1.10 Ce 1.12 Pr 1.13 Nd 1.14 Pm 1.13 Sm 1.17 Eu 1.20 Gd 1.20 Tb 1.10 Dy 1.22 Ho 1.23 Er 1.24 Tm 1.25
Yb 1.10 Lu 1.27 Hf 1.30 Ta 1.50 W 2.36 Re 1.90 Os 2.20 Ir 2.20 Pt 2.28 Au 2.54 Hg 2.00 Tl 1.62 Pb 2.33
Bi 2.02 Po 2.00 At 2.20 Rn 2.20 Fr 0.70 Ra 0.90 Ac 1.10 Th 1.30 Pa 1.50 U 1.38 Np 1.36 Pu 1.28 Am 1.30
Cm 1.30 Bk 1.30 Cf 1.30 Es 1.30 Fm 1.30 Md 1.30 No 1.30 Lr 1.30
"""
ELECTRONEGATIVITY = {symbol: float(value) for symbol, value in zip(*[iter(_PAULING.split())] * 2, strict=True)}

_TOKEN = re.compile(r"([A-Z][a-z]?)|([(\[])|([)\]])")
_AMOUNT = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_MOST = 1e9  # of one element in a formula: more is a slip


@cache
def amounts(formula: str) -> dict[str, float]:
    """Amount of each element: "Ca(OH)2" is {Ca: 1, O: 2, H: 2}, and "NaN" is sodium nitride.

    Raises InputError for an unknown symbol, an unmatched bracket, or anything else between.
    """
    stack: list[dict[str, float]] = [{}]
    text = formula.replace(" ", "")
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise InputError(f'formula "{formula}": cannot read "{text[at:]}". Legal: Fe2O3, Ca(OH)2, Li0.5CoO2.')
        at = token.end()
        symbol, opening, _ = token.groups()
        if opening:
            stack.append({})
            continue
        if symbol:
            if symbol not in atomic_numbers or symbol == "X":  # X is ASE's word for no element
                raise InputError(f'formula "{formula}": there is no element "{symbol}".')
            group = {symbol: 1.0}
        elif len(stack) == 1:
            raise InputError(f'formula "{formula}": a bracket closes that was not opened.')
        else:
            group = stack.pop()
        number = _AMOUNT.match(text, at)
        times = float(number.group()) if number else 1.0
        at = number.end() if number else at
        for element, amount in group.items():
            stack[-1][element] = stack[-1].get(element, 0.0) + times * amount
    if not max(stack[0].values(), default=0.0) <= _MOST:
        raise InputError(f'formula "{formula[:60]}": amounts up to {_MOST:g} are legal.')
    if len(stack) > 1 or not stack[0]:
        raise InputError(f'formula "{formula}" is empty or leaves a bracket open.')
    return stack[0]


def fractions(formula: str) -> dict[str, float]:
    """Amounts divided by their sum."""
    parts = amounts(formula)
    total = math.fsum(parts.values())
    if total <= 0:
        raise InputError(f'formula "{formula}" holds no atoms.')
    return {element: amount / total for element, amount in parts.items()}


def check_formulas(formulas: Sequence[str], where: str) -> None:
    """Raises InputError for a formula that cannot be read or holds no atoms: `where`, its row from 1, and why."""
    for row, formula in enumerate(formulas, 1):
        try:
            fractions(formula)
        except InputError as error:
            raise InputError(f"{where}, row {row}: {error}") from None


@cache
def reduced(formula: str) -> str:
    """The composition's name, elements in alphabetical order: Fe4O6, O3Fe2 and Fe2O3 are all "Fe2O3".

    Whole amounts are divided by their greatest common divisor; others are given as fractions.
    """
    parts = {element: amount for element, amount in amounts(formula).items() if amount > 0}
    if all(abs(amount - round(amount)) < 1e-6 for amount in parts.values()):
        whole = {element: round(amount) for element, amount in parts.items()}
        divisor = math.gcd(*whole.values())
        numbers = {element: amount // divisor for element, amount in whole.items()}
        return "".join(f"{e}{n if n > 1 else ''}" for e, n in sorted(numbers.items()))
    return "".join(f"{e}{x:.6g}" for e, x in sorted(fractions(formula).items()))


def elements(formula: str) -> frozenset[str]:
    """The elements of a formula."""
    return frozenset(element for element, amount in amounts(formula).items() if amount > 0)
