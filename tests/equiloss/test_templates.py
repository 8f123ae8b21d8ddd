import pytest

from equiloss import templates
from equiloss.errors import InputError


def test_the_prompts_of_this_installation_are_found():
    assert (templates.prompts_directory() / "judge").is_dir()


def test_a_template_renders_in_a_sandbox_with_its_values():
    assert templates.render("{{ a }} & {{ b }}", "t", a="<x>", b=1) == "<x> & 1"


def test_a_template_is_compiled_once_for_all_that_it_is_rendered_with(monkeypatch):
    environment, text = templates.environment(), "{% set twice = 2 * a %}{{ a }} and {{ twice }}, once compiled"
    compiled: list[str] = []
    compile_it = environment.compile
    monkeypatch.setattr(
        environment,
        "compile",
        lambda source, *rest, **more: (compiled.append(source), compile_it(source, *rest, **more))[1],
    )
    assert [templates.render(text, "t", a=a) for a in (1, 2)] == ["1 and 2, once compiled", "2 and 4, once compiled"]
    assert compiled == [text]


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


@pytest.mark.parametrize(
    "text",
    ["{{ 1 / 0 }}", "{{ none|length }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ 'a' * 10000000000 }}",
     "{{ 9 ** 99999 }}", "{{ 'a'.ljust(9999999999) }}", "{{ '%9999999999d' % 1 }}", "{{ '{:9999999999}'.format(1) }}",
     "{{ 'a'|indent(9999999999, true) }}", "{{ [1]|batch(9999999999, 2)|list }}",
     "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
     "{{ 'a'|center(9999999999) }}", "{{ range(10000000) }}"],
)  # fmt: skip
def test_a_template_ends_in_one_line_whatever_its_expressions_do(text):
    with pytest.raises(InputError, match="template mine"):
        templates.render(text, "mine")


def test_a_template_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(templates, "LONGEST_S", 0.2)
    loops = "".join(f"{{% for {name} in range(9999) %}}" for name in "abc") + "{% endfor %}" * 3
    with pytest.raises(InputError, match="takes longer than"):
        templates.render(loops, "mine")
