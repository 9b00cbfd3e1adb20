"""The list of remedies is whole: each says what it touches, has its code, names its arguments."""

import inspect

import pytest

from sounding.prove import GENTLEST
from sounding.remedies import REMEDIES, TOUCHES, Remedy, code, prescribe
from sounding.remedies.registry import GIVEN, filled, needs


@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedy_says_what_it_touches_and_takes_plain_arguments(name):
    touches = TOUCHES[name]
    assert touches in GENTLEST
    assert f"Touches the {touches}" in inspect.getdoc(REMEDIES[name])
    remedy = prescribe(name)
    assert remedy.touches == touches
    assert all(isinstance(value, str | int | float) for value in filled(remedy).values())
    assert str(Remedy.from_dict(remedy.to_dict())) == f"{name}()"


@pytest.mark.parametrize("name", REMEDIES)
def test_arguments_are_keywords_and_the_rest_is_given(name):
    for key, parameter in inspect.signature(REMEDIES[name]).parameters.items():
        keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert keyword == (key not in GIVEN)
        assert keyword == (parameter.default is not inspect.Parameter.empty)
    assert needs(prescribe(name)) & {"model", "optimizer"}


@pytest.mark.parametrize("name", REMEDIES)
def test_its_code_compiles_without_readings(name):
    compile(code(prescribe(name)), "pasted", "exec")


def test_unknown_names_and_arguments_are_named():
    with pytest.raises(ValueError, match="no remedy is called 'scale_lt'; did you mean scale_lr"):
        prescribe("scale_lt")
    with pytest.raises(ValueError, match="scale_lr has no argument 'by'; it takes factor"):
        prescribe("scale_lr", by=3)
    with pytest.raises(ValueError, match="hold_lr has no argument 'at'; it takes none"):
        prescribe("hold_lr", at=3)
