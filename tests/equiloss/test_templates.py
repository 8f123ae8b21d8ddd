import pytest

from equiloss import templates
from equiloss.errors import InputError


def test_the_prompts_of_this_installation_are_found():
    assert (templates.prompts_directory() / "judge").is_dir()


def test_a_template_renders_in_a_sandbox_with_its_values():
    assert templates.render("{{ a }} & {{ b }}", "t", a="<x>", b=1) == "<x> & 1"


@pytest.mark.parametrize(
    "template",
    [
        "{{ missing }}",
        "{% if %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ a.append(1) }}",
    ],
)
def test_what_a_template_must_not_do_is_a_clear_error(template):
    with pytest.raises(InputError, match="template bad"):
        templates.render(template, "bad", a=[])


def test_an_unknown_template_names_the_known_ones():
    with pytest.raises(InputError, match="no template 'nope' for judge"):
        templates.source("judge", "nope")


def test_a_template_is_read_by_path(tmp_path):
    path = tmp_path / "mine.j2"
    path.write_text("hello")
    assert templates.source("judge", str(path)) == "hello"
