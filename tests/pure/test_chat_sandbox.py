"""Templates as programs of a stranger: what they may not reach, and that they end soon and small."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from llama_bind.chat import environment as module
from llama_bind.chat.budget import TemplateLimits, charge
from llama_bind.chat.templates import MAX_SOURCE, ChatTemplate
from llama_bind.errors import InputError, TemplateError

MESSAGES = [{"role": "user", "content": "hello"}]
QUICK = TemplateLimits(seconds=0.2)
NS = "{% set ns = namespace(x=['a'], y=['a'], t='aa', n=3) %}"


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    """Should a limit be broken, the test fails instead of running for ever (where there are alarms)."""

    def ring(*_: object) -> None:
        raise AssertionError("the template did not end")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(120)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def ended(source: str) -> str:
    """Render what must fail; the message, once it is seen that it came soon."""
    begin = time.process_time()
    with pytest.raises(TemplateError) as info:
        ChatTemplate(source, limits=QUICK).render(MESSAGES)
    assert time.process_time() - begin < 4
    return str(info.value)


@pytest.mark.parametrize(
    "source",
    [
        "{% set x = range(99999)|list %}{% for i in x %}{% for j in x %}{% endfor %}{% endfor %}",
        "{% set x = range(99999)|list %}{% for i in x %}{% for j in x if false %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set x = range(99999)|list %}{% for i in range(99999) %}{{ x|sort|first }}{% endfor %}",
        "{% for i in range(99999) %}{{ range(99999)|sum }}{% endfor %}",
    ],
)
def test_long_loops_end(source: str) -> None:
    assert "ran for more than" in ended(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10**10 }}", "{{ 10**10 * 'a' }}", "{{ [1] * 10**9 }}", "{{ ('a' * 10**6) * 10**6 }}",
        "{{ 'x'|center(10**9) }}", "{{ 'x'.center(10**9) }}", "{{ 'x'.ljust(10**9) }}", "{{ 'x'.rjust(10**9) }}",
        "{{ 'x'.zfill(10**9) }}", "{{ '\t'.expandtabs(10**9) }}", "{{ 'x'|indent(10**9, true) }}",
        "{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}", "{{ ('a' * 10**6)|replace('a', 'b' * 10**6) }}",
        "{{ ('a' * 10**6)|replace('', 'b' * 10**6) }}", "{{ ('b' * 10**6).join('a' * 10**6) }}",
        "{{ ('a' * 10**5)|join('b' * 10**6) }}", "{{ ('<' * 9 * 10**6)|e|e|e|e }}",
        "{{ ('a ' * 4 * 10**6).split()|length }}", "{{ ('a' * 10**7)|wordwrap(1, wrapstring='b' * 10**6) }}",
        NS + "{% for i in range(99) %}{% set ns.t = ns.t + ns.t %}{% endfor %}",
        NS + "{% for i in range(99) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
        NS + "{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        NS + "{% for i in range(99999) %}{% set ns.x = ns.x + [range(99999)|list] %}{% endfor %}",
        "{% set x = range(99999)|list %}" + NS
        + "{% for i in range(99999) %}{% set ns.x = ns.x + [x[:]] %}{% endfor %}",
    ],
)  # fmt: skip
def test_large_texts_are_not_made(source: str) -> None:
    message = ended(source)
    assert "too much text" in message or "ran for more than" in message or "elements" in message


@pytest.mark.parametrize(
    "source",
    [
        NS + "{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        NS + "{% for i in range(60) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x|tojson }}",
        NS + "{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% set ns.y = (ns.y, ns.y) %}{% endfor %}"
        "{{ ns.x == ns.y }}",
        NS + "{% for i in range(60) %}{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x }}",
    ],
)
def test_shared_values_do_not_unfold(source: str) -> None:
    message = ended(source)
    assert "elements" in message or "ran for more than" in message


def test_jinja_s_own_objects_do_not_unfold() -> None:
    source = NS + "{% for i in range(60) %}{% set ns.x = namespace(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x }}{{ [ns.x] }}"
    assert ChatTemplate(source).render(MESSAGES) == "<Namespace>[<Namespace>]"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
        ("{{ 9 ** (9 ** 9) }}", "bits"),
        ("{{ 2 ** 1000000000 }}", "bits"),
        (NS + "{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}", "bits"),
        ("{{ '%999999999d' % 1 }}", "width"),
        ("{{ '%.999999999f'|format(1.5) }}", "width"),
        ("{{ '{:>999999999}'.format(1) }}", "width"),
        ("{{ '{:{}}'.format(1, 999999999) }}", "plain fields"),
        ("{{ '{0.__class__}'.format(1) }}", "plain fields"),
        ("{{ '%*d' % (999999999, 1) }}", "format"),
        ("{{ [1]|batch(10**9, 'x')|list }}", "batch with a number"),
        ("{{ [1]|slice(10**9)|list }}", "slice with a number"),
        ("{{ 1.5|round(10**9, 'ceil') }}", "round with a number"),
        ("{{ ('9' * 10**6)|int }}", "4000 digits"),
        ("{{ messages|tojson(indent=1000000) }}", "indents"),
        ("{{ strftime_now('%Y' * 1000) }}", "date"),
        ("{{ (1).to_bytes(10**10, 'big') }}", "may not call int.to_bytes"),
        ("{{ 'a'.encode() }}", "may not call"),
        ("{{ dict.fromkeys(range(9)) }}", "may not call type.fromkeys"),
        ("{{ lipsum(n=10**9) }}", "undefined"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself"),
        ("{% block a %}{{ self.a() }}{% endblock %}", "calls itself"),
        ("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", "calls itself"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "compile"),
        ("{{ " + "-" * 20_000 + "1 }}", "compile"),
        ("{% for i in [1] %}" * 30 + "{% endfor %}" * 30, "compile"),
        ("{{ x }}" * 30_000, "too long"),
    ],
)
def test_refused(source: str, words: str) -> None:
    assert words in ended(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}", "{{ ''['__class__'].x }}", "{{ (''|attr('__class__')).x }}",
        "{{ messages.append(1) }}", "{{ messages.pop() }}", "{{ [].extend([1]) }}", "{{ [].append.__self__.x }}",
        "{% set a = [] %}{{ a.append(messages) }}{{ a[0].append(1) }}", "{{ [1].pop(5) }}",
        "{{ messages[0].update({'a': 1}) }}", "{{ messages.__class__.x }}", "{{ raise_exception.__globals__.x }}",
        "{{ cycler.__init__.__globals__ }}", "{{ self._TemplateReference__context.x }}", "{{ namespace.__init__.x }}",
        "{{ ''.strip.__self__.x }}", "{{ range.__class__.x }}", "{{ joiner()._sep.x }}", "{{ ''.format.__func__.x }}",
        "{% macro m() %}{% endmacro %}{{ m._func.x }}", "{% set messages[0] = 1 %}",
        "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% from 'x' import y %}",
        "{% autoescape true %}{% endautoescape %}",
    ],
)  # fmt: skip
def test_nothing_is_reached(source: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(MESSAGES)
    assert MESSAGES == [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% set a = [] %}{% set _ = a.append('x') %}{% set _ = a.append('y') %}{{ a }}", "['x', 'y']"),
        ("{% set n = namespace(a=[1, 2]) %}{{ n.a.pop(0) }}{{ n.a.pop() }}{{ n.a }}", "12[]"),
        ("{{ [messages[0].role]|list|length }}", "1"),
        ("{{ (messages|map(attribute='content'))|tojson }}", '["hello"]'),
    ],
)
def test_a_template_may_change_its_own_lists(source: str, expected: str) -> None:
    assert ChatTemplate(source).render(MESSAGES) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{% set a = [] %}{% set _ = a.append(a) %}{{ a }}",
        "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set b = [] %}{% set _ = b.append(n.a) %}"
        "{% set _ = b.append(n.a) %}{% set n.a = b %}{% endfor %}{{ n.a|tojson }}",
        "{% set a = [] %}{% for i in range(10**9) %}{% set _ = a.append(i) %}{% endfor %}",
    ],
)
def test_its_own_lists_stay_small(source: str) -> None:
    assert ended(source)


def test_memory_stays_small() -> None:
    """All of it in a process that may not have more than 1.5 GB."""
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000,) * 2)
from llama_bind.chat.templates import ChatTemplate
from llama_bind.errors import TemplateError
for source in sys.argv[1:]:
    try:
        ChatTemplate(source).render([])
    except TemplateError as error:
        assert not isinstance(error.__cause__, MemoryError), source
    else:
        raise SystemExit(f"ended well: {source}")
"""
    sources = [
        NS + "{% for i in range(99999) %}{% set ns.x = ns.x + ['a' * 10**6 ~ i] %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'a' * 10**6 }}{% endfor %}",
        NS + "{% for i in range(99999) %}{% set ns.x = [ns.x, range(9999)|list] %}{% endfor %}",
        "{% set x %}{% for i in range(99999) %}{{ 'é' * 10**6 }}{% endfor %}{% endset %}",
    ]
    subprocess.run([sys.executable, "-c", script, *sources], check=True, timeout=120)


def test_syntax_errors_say_the_line() -> None:
    template = ChatTemplate("fine\n{% if %}\n")
    with pytest.raises(TemplateError, match=r"^line 2: ") as info:
        template.compile()
    assert info.value.line == 2
    assert info.value.param == "chat_template"
    with pytest.raises(TemplateError, match="No filter named 'nope'"):
        ChatTemplate("{{ 1|nope }}").compile()


def test_what_the_template_raises_is_kept() -> None:
    with pytest.raises(TemplateError) as info:
        ChatTemplate("a\n{{ raise_exception('Roles must alternate: ' ~ messages[0].role) }}").render(MESSAGES)
    assert str(info.value) == "Roles must alternate: user"
    assert info.value.line == 2


def test_other_errors_say_the_line() -> None:
    with pytest.raises(TemplateError, match="line 3: UndefinedError: 'x' is undefined") as info:
        ChatTemplate("a\nb\n{{ x.y }}").render(MESSAGES)
    assert info.value.line == 3


def test_long_sources_are_refused() -> None:
    with pytest.raises(TemplateError, match="more than 1000000"):
        ChatTemplate("x" * (MAX_SOURCE + 1))
    assert ChatTemplate("x" * MAX_SOURCE).render(MESSAGES) == "x" * MAX_SOURCE


def test_a_source_is_compiled_at_first_use_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = module.Environment.from_string

    def counted(self: module.Environment, source: str) -> object:
        compiled.append(source)
        return real(self, source)

    monkeypatch.setattr(module.Environment, "from_string", counted)
    source = "{{ 'once' }}{# test_a_source_is_compiled_at_first_use_and_once #}"
    first, second = ChatTemplate(source), ChatTemplate(source, "<s>")
    assert compiled == []
    assert [template.render(MESSAGES) for template in (first, first, second)] == ["once"] * 3
    assert compiled == [source]


def test_threads_have_their_own_budgets() -> None:
    """A looping template in one thread must not end another's, nor the other way round."""
    results: dict[str, str] = {}

    def run(name: str, source: str) -> None:
        try:
            results[name] = ChatTemplate(source, limits=TemplateLimits(seconds=0.5)).render(MESSAGES)
        except TemplateError as error:
            results[name] = type(error).__name__

    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    threads = [threading.Thread(target=run, args=(f"loop{n}", loop)) for n in range(2)]
    threads += [
        threading.Thread(target=run, args=(f"fine{n}", "{% for i in range(9) %}{{ i }}{% endfor %}")) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {"loop0": "TemplateError", "loop1": "TemplateError"} | {f"fine{n}": "012345678" for n in range(4)}


def test_charging_is_free_outside_of_a_rendering() -> None:
    charge(10**12)


def test_limits_hold_for_large_but_honest_prompts() -> None:
    text = "a long line of a document, <b>with</b> marks\n" * 25_000
    template = ChatTemplate(
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim | replace('\\n', ' ') }}{% endfor %}"
    )
    messages = [{"role": "user", "content": text}] * 3
    assert len(template.render(messages)) > 3_000_000


def test_errors_are_value_errors() -> None:
    assert issubclass(TemplateError, InputError)
    assert issubclass(TemplateError, ValueError)
