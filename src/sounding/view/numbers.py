"""Numbers, counts and names as text, the same in every view."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """`value` with three significant digits; '–' where there is none."""
    value = float(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def together(values: Iterable[float], *, sign: bool = False) -> list[str]:
    """`values` with the same number of decimals, so that the eye can compare them."""
    values = [float(v) for v in values]
    sizes = [abs(v) for v in values if math.isfinite(v) and v != 0]
    if not sizes or max(sizes) >= 1e5 or max(sizes) < 1e-3:
        return [("+" if sign and v > 0 else "") + number(v) for v in values]
    decimals = max(0, 2 - max(0, math.floor(math.log10(max(sizes)))))
    if decimals == 2 and max(sizes) < 0.1:
        decimals = 1 - math.floor(math.log10(max(sizes)))
    style = f"{'+' if sign else ''}.{decimals}f"
    return [format(v, style) if math.isfinite(v) else number(v) for v in values]


def power_of_ten(exponent: int) -> str:
    """An axis label such as '10⁻⁵'; '1' for the zeroth power."""
    return "1" if exponent == 0 else f"10{str(exponent).translate(SUPERSCRIPTS)}"


def count(n: int, thing: str) -> str:
    """'1 problem', '2 problems'."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def percent(level: float) -> str:
    """'95 %', '98.75 %'."""
    return f"{100 * level:.4g} %"


def printable(text: str) -> str:
    """`text` with every control character but newline and tab written as its escape."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def span(layers: Sequence[str], *, most: int = 3) -> str:
    """The names, or the first and the last of them: 'layers.0 ... layers.58 (30 layers)'."""
    if len(layers) <= most:
        return ", ".join(name or "the model" for name in layers)
    return f"{layers[0]} ... {layers[-1]} ({len(layers)} layers)"


def uncertain(value: float, error: float = math.nan) -> str:
    """`value` with as many digits as its error allows, three to six: '34.47', '-0.531', '1.2e7'."""
    value, error = float(value), float(error)
    if not math.isfinite(value) or value == 0:
        return "NaN" if math.isnan(value) else number(value)
    exponent = math.floor(math.log10(abs(value)))
    digits = 4
    if math.isfinite(error) and error > 0:
        digits = min(max(exponent - math.floor(math.log10(error)) + 1, 3), 6)
    if not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def rough(error: float) -> str:
    """An error with two significant digits: '0.0041', '120', '1.2e-7'."""
    error = float(error)
    if not math.isfinite(error) or error == 0:
        return number(error)
    if not 1e-3 <= abs(error) < 1e4:
        return f"{error:.1e}".replace(".0e", "e").replace("e+0", "e").replace("e-0", "e-")
    return f"{error:.2g}" if abs(error) < 100 else f"{error:.0f}"


def sure(miss: float) -> str:
    """The probability that is left when `miss` is taken away: '99.9 %'."""
    if not 0 < miss < 1:
        return percent(1 - miss)
    return f"{100 * (1 - miss):.{max(0, math.ceil(-math.log10(100 * miss) - 1e-9))}f} %"


def share(part: float, error: float = math.nan) -> str:
    """'12 %', '12.3 ± 0.4 %', 'less than 0.01 %'."""
    if math.isnan(part):
        return "–"
    if 0 < part < 1e-4:
        return "less than 0.01 %"
    if math.isfinite(error) and error > 0:
        decimals = min(2, max(0, -math.floor(math.log10(100 * error))))
        return f"{100 * part:.{decimals}f} ± {100 * error:.{decimals}f} %"
    return f"{100 * part:.2g} %" if part < 0.995 else f"{100 * part:.4g} %"
