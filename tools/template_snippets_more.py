"""More templates that template_snippets.py renders: what is easily taken for something else, and odd syntax."""

SNIPPETS = r"""
{% if false %}{{ 1|nonsense }}{% endif %}ok
{{ (1|nonsense) if false else 2 }}
{% for x in [] %}{{ x|nonsense }}{% endfor %}ok
{% macro m() %}{{ 1|nonsense }}{% endmacro %}ok
{% if false %}{{ 1 is nonsense }}{% endif %}ok
{% for x in [] %}{% if x %}{{ x|nonsense }}{% endif %}{% endfor %}ok
{% if true %}{% for x in [] %}{{ x|nonsense }}{% endfor %}{% endif %}ok
{% if false %}{% for x in [1] %}{{ x|nonsense }}{% endfor %}{% endif %}ok
{% if false %}{% macro m() %}{{ 1|nonsense }}{% endmacro %}{% endif %}ok
{% if false %}{% set x = 1|nonsense %}{% endif %}ok
{% if false %}{% filter nonsense %}x{% endfilter %}{% endif %}ok
{% if 1|nonsense %}{% endif %}
{% if false and 1|nonsense %}{% endif %}ok
{% if false %}{% elif 1|nonsense %}{% endif %}ok
{{ 1 if 1|nonsense else 2 }}
{% if false %}{% call m(1|nonsense) %}{% endcall %}{% endif %}ok
{% if false %}{% with a = 1|nonsense %}{% endwith %}{% endif %}ok
{% if false %}{% set a %}{{ 1|nonsense }}{% endset %}{% endif %}ok
{% if false %}{% set a | nonsense %}x{% endset %}{% endif %}ok
{% if false %}{% block b %}{{ 1|nonsense }}{% endblock %}{% endif %}ok
{% if false %}{% generation %}{{ 1|nonsense }}{% endgeneration %}{% endif %}ok
{{ [1|nonsense] if false }}ok
{{ ([x|nonsense for x in y]) }}
{{ {'a': 1|nonsense}.a if false else 3 }}
{% macro m(x, x) %}{% endmacro %}ok
{% macro m(x) %}{{ x }}{% endmacro %}{{ m(x=1, x=2) }}
{{ dict(a=1, a=2) }}
{% for loop in [1] %}{% endfor %}
{% for loop, y in [(1,2)] %}{% endfor %}
{% for x in [1,2] %}{% set loop = 5 %}{{ loop }}{% endfor %}
{% block a %}1{% endblock %}{% block a %}2{% endblock %}
{% block a scoped %}1{% endblock %}
{% block a required %}{% endblock %}
{% for x in [1,2] %}{% block a scoped %}{{ x }}{% endblock %}{% endfor %}
{% for x in [1,2] %}{% block a %}{{ x }}{% endblock %}{% endfor %}
{% set y = 5 %}{% block a %}{{ y }}{% set y = 6 %}{% endblock %}{{ y }}
{{ super() }}
{{ caller }}
{{ varargs }} {{ kwargs }}
{% set None = 1 %}
{% set a.b.c = 1 %}
{% set a['b'] = 1 %}
{% set (a, b) = (1, 2) %}{{ a }}{{ b }}
{% set [a, b] = [1, 2] %}{{ a }}
{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}
{% set a, = [1] %}{{ a }}
{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}
{% for ns.a in [1,2] %}{{ ns.a }}{% endfor %}
{% set ns = namespace() %}{% for ns.a in [1,2] %}{{ ns.a }}{% endfor %}{{ ns.a }}
{% with %}{% endwith %}ok
{% with a %}{% endwith %}ok
{% with a=1, b=a %}{{ b }}{% endwith %}
{% with a=1 %}{% set b = 2 %}{% endwith %}{{ b }}
{% if true %}a{% else %}b{% else %}c{% endif %}
{% if true %}a{% else %}b{% elif x %}c{% endif %}
{% for x in [1] %}{% else %}{% else %}{% endfor %}
{% for x in [1] %}
{% if x
{{ 'abc }}
{# abc
{% %}
{{ a b }}
{{ [1 2] }}
{{ {1 2} }}
{{ {1:2 3:4} }}
{{ (1 2) }}
{{ [,] }}
{{ (,) }}
{{ {,} }}
{{ f(,) }}
{{ f(1,,2) }}
{{ l[] }}
{{ l[1,] }}
{{ l[1:2:3:4] }}
{{ l[1,2:3] }}
{{ l[:,1] }}
{{ l[:] }} {{ l[::] }} {{ l[1::] }}
{{ l[1:2,] }}
{{ 1 if }}
{{ 1 if 2 else }}
{{ if 1 }}
{{ not }}
{{ 1 + }}
{{ + }}
{{ 1 ++ 2 }}
{{ 1 -- 2 }} {{ 1 +- 2 }} {{ 1 - -2 }}
{{ 1 not 2 }}
{{ 1 not in [2] }}
{{ not 1 in [2] }}
{{ 1 is }}
{{ 1 is not }}
{{ 1 is not not none }}
{{ 1 is none is none }}
{{ (1 is none) is false }}
{{ 1 is in [1] }}
{{ 1 is in([1]) }}
{{ 1 is divisibleby 1 + 1 }}
{{ 4 is divisibleby 2 and true }}
{{ 4 is divisibleby n }}
{{ 4 is divisibleby not none }}
{{ 1 is sameas 1 }} {{ 1 is sameas true }}
{{ 'a' is eq 'a' 'b' }}
{{ 3 is eq -3 }}
{{ 3 is eq (3) }}
{{ 3 is eq [3] }} {{ [3] is eq [3] }}
{{ 'ab' is eq 'a' ~ 'b' }}
{{ 'a' is eq x.y }}
{{ 1 | string | length }}
{{ 1 | string() | length() }}
{{ 1|string|length + 1 }}
{{ -1|abs }} {{ -1.5|int }} {{ 2**-1|abs }} {{ -2|abs**2 }}
{{ 1.real }}
{{ 1 .real }}
{{ 1.5.real }}
{{ l.0 }} {{ l.1 }} {{ rows.0.k }} {{ l.0.1 }}
{{ l.-1 }}
{{ d."a" }}
{{ d.['a'] }}
{{ 1_ }}
{{ _1 }}
{{ 1__0 }}
{{ 1e }}
{{ 1e5 }} {{ 1E-5 }} {{ 1.e5 }}
{{ .5 }}
{{ 5. }}
{{ 0x }}
{{ 0b12 }}
{{ 0o8 }}
{{ 01 }}
{{ 00 }}
{{ 1a }}
{{ 0xfg }}
{{ 'a' 'b' }}
{{ 'a' "b" 1 }}
{{ "\N{DASH}" }}
{{ "\x4" }}
{{ "\u12" }}
{{ '\
x' }}
{{ 'a
b' }}
{{ $ }}
{{ a ? b }}
{{ a && b }}
{{ a || b }}
{{ !a }}
{{ a = 1 }}
{{ a := 1 }}
{{ a; b }}
{% set a = 1; %}
{{ lambda x: x }}
{{ *l }}
{{ f(*l, *l) }}
{{ range(*[1,3])|list }} {{ dict(**{'a':1}) }} {{ range(*[1],3) }}
{{ dict(**{'a':1}, b=2) }}
{{ dict(**{'a':1}, **{'b':1}) }}
{{ dict(a=1, *[]) }}
{{ dict(a=1, 2) }}
{{ 'a'.join(['b'],) }}
{{ 'a'|replace('a','b',) }}
{{ 'a' |replace }}
{{ 'a'| }}
{{ 'a'|1 }}
{{ 'a'|upper.lower }}
{{ 'a'|x.y }}
{{ ('a'|upper).lower() }} {{ 'a'|upper|lower }}
{{ 'A'|lower[0] }}
{{ 'AB'|list[0] }}
{{ "{{" }} {{ '}}' }} {{ '%}' }}
{{ {'a': {'b': 1}}}}
{{ {'a': {'b': 1}} }}
{% raw %}{{ x }}{% endraw %}
{%- raw -%} {{ x }} {%- endraw -%} y
{% raw %}{% raw %}{% endraw %}
{% raw x %}{% endraw %}
{% raw %}
{% endraw %}ok
{#- a -#} b {#- c #} d
  {# x #}
b
{#+ x +#} a
{%+ if true %} a {%+ endif %}
   {%+ if true +%}
 a
   {%- endif +%}
 b
{% if true -%}   a   {%- endif %}
{%if true%}a{%endif%}
{{-1}}{{- 1 -}} {{+1}}
{{ 1 }}
{{ 2 }}
{% set x = 1 -%}
y
a{% if true %} {% endif %}b
 	{% if true %}x{% endif %}
{% if true %}
x
{% if false %}{% include 'x' %}{% endif %}ok
{% from 'x' import y %}
{% do 1 %}
{% trans %}x{% endtrans %}
{% debug %}
{% autoescape false %}{{ '<' }}{% endautoescape %}
{% filter upper %}a{% endfilter %} {% filter upper|lower %}A{% endfilter %} {% filter replace('a','b')|upper %}a{% endfilter %}
{% filter %}a{% endfilter %}
{% call %}x{% endcall %}
{% call 1 %}x{% endcall %}
{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}x{% endcall %} {% call m() %}{% endcall %}
{% macro m() %}{{ caller(1) }}{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}
{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}
{% macro m() %}{{ caller() }}{% endmacro %}{% call(x=3) m() %}{{ x }}{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
{% macro m(caller) %}{{ caller }}{% endmacro %}{{ m(1) }}
{% macro m(caller=none) %}{{ caller }}{% endmacro %}{{ m() }}
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}
{% macro m(a=b, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m() }}
{% macro m(a=1, b) %}{% endmacro %}
{% macro m(a, *b) %}{% endmacro %}
{% macro m %}{% endmacro %}
{% macro m() %}{{ m.name }} {{ m.arguments }} {{ m.catch_kwargs }} {{ m.catch_varargs }} {{ m.caller }}{% endmacro %}{{ m() }}
{% macro outer() %}{{ inner() }}{% endmacro %}{% macro inner() %}i{% endmacro %}{{ outer() }}
{{ later() }}{% macro later() %}i{% endmacro %}
{% macro m() %}{% set x = 5 %}{% endmacro %}{{ m() }}{{ x }}
{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}
{% for i in [1,2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}{{ m is defined }}
{% if true %}{% macro m() %}q{% endmacro %}{% endif %}{{ m() }}
{% macro m() %}{{ kwargs }}{{ varargs }}{% endmacro %}{{ m(1, a=2) }}
{% macro m(a) %}{{ kwargs }}{{ varargs }}{{ a }}{% endmacro %}{{ m(1, 2, b=3) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro fib(n) %}{% if n < 2 %}{{ n }}{% else %}{{ fib(n-1)|int + fib(n-2)|int }}{% endif %}{% endmacro %}{{ fib(10) }}
{% macro m() %}{% for x in [1,2,3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}{% endmacro %}{{ m() }}
{% for x in [1,2] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% for x in [1,2] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}
{% for x in [1,2] %}{% set z %}{% break %}{% endset %}{% endfor %}ok
{% for x in [1,2] %}{% filter upper %}a{% continue %}{% endfilter %}{% endfor %}ok
{% for x in [1,2] %}{% with a=1 %}{{ x }}{% continue %}{% endwith %}b{% endfor %}ok
{% for x in [1,2] %}{% block q %}{% break %}{% endblock %}{% endfor %}ok
{% for x in [] %}{% else %}{% break %}{% endfor %}
{% for y in [1,2] %}{% for x in [] %}{% else %}{% break %}{% endfor %}{{ y }}{% endfor %}
{% for x in [1,2,3] if x > 1 %}{{ loop.index }}{{ x }}{{ loop.length }}{% endfor %}
{% for x in [1,2,3] if loop.index > 1 %}{{ x }}{% endfor %}
{% for x in [1,2,3] if y is not defined %}{% set y = 1 %}{{ x }}{% endfor %}
{% for x in [1,2,3] recursive %}{{ x }}{% endfor %}
{% for x in [[1,[2]],3] recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}.{{ loop.depth }}{% endif %}{% endfor %}
{% for x in [1,2] if x recursive %}{{ x }}{% endfor %}
{% for x in 1, 2 %}{{ x }}{% endfor %}
{% for x in [1] if true else 2 %}{{ x }}{% endfor %}
{% for x in (l if true else []) %}{{ x }}{% endfor %}
{% for x in l or [] %}{{ x }}{% endfor %}
{% for k, v in d.items() %}{{ k }}{{ v }}{% endfor %}
{% for k, v in d %}{{ k }}{% endfor %}
{% for k in d %}{{ k }}{% endfor %}
{% for (a, b), c in [((1,2),3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for x in l %}{{ loop.index }}{{ loop.foo }}{% endfor %}
{% for x in l %}{{ loop['index'] }}{{ loop.index.real }}{% endfor %}
{% for x in l %}{% for y in l %}{{ loop.parent }}{% endfor %}{% endfor %}
{% for x in l %}{% set outer = loop %}{% for y in l %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}
{% for x in l %}{{ x }}{% endfor %}{{ x }}{{ loop }}
{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% set x = 0 %}{% if true %}{% set x = 1 %}{% endif %}{{ x }}
{% for c in 'abc' %}{{ c }}{% endfor %}
{% for x in range(3) %}{{ x }}{% endfor %}{% for x in range(3, 0, -1) %}{{ x }}{% endfor %}
{% for x in range(0) %}{% else %}none{% endfor %}
{{ range(10)[2:5] }} {{ range(10)[::-1] }} {{ range(10)[-1] }} {{ range(10)[::3]|list }} {{ range(3) == range(0,3) }} {{ range(1,10,3)[1:][0] }}
{% set g = l|map('string') %}{{ g|list }}{{ g|list }}
{% set g = l|map('string') %}{{ g|first }}{{ g|first }}{{ g|list }}{{ g|first is defined }}
{% set g = l|select %}{{ 3 in g }}{{ g|list }}
{% set g = l|select %}{% for x in g %}{{ x }}{% endfor %}|{% for x in g %}{{ x }}{% else %}none{% endfor %}
{{ l|map('upper')|last }}
{{ l|select|last }}
{{ l|reverse|last }}
{{ l|select|length }}
{{ l|select|reverse }} {{ l|reverse|list }} {{ l|select|reverse|length }}
{{ [1,'a',none]|map('abs')|first }}
{{ [1,'a',none]|map('abs')|list }}
{% for x in [1,'a']|map('abs') %}{{ x }}{% endfor %}
{% for x in [1,'a']|map('abs') %}{{ x }}{% break %}{% endfor %}ok
{% set g = 5|map('abs') %}ok
{% set g = l|map('nonsense') %}ok
{% set g = l|select('nonsense') %}ok
{{ []|map('nonsense')|list }}
{{ none|map('nonsense')|list }}
{{ l|select|tojson }}
{{ l|batch(2)|list }} {{ l|batch(2)|first }} {{ l|slice(2)|list }} {{ l|unique|list }} {{ d|items|list }}
{% set g = d|items %}{{ g|length }}
{% set a, b = [1,2]|map('string') %}{{ a }}{{ b }}
{{ dict([('a',1)]|select) }}
{% set g = l|select %}{{ g == g }} {{ g is iterable }} {{ g is sequence }} {{ g is mapping }} {{ g[0] }} {{ g.x }} {{ g is string }} {{ not g }}
{{ (l|select) + [1] }}
{{ ','.join(names|map('upper')) }} {{ names|map('upper')|join(',') }} {{ names|select('in', ['bob'])|sum(start='') }}
{{ rows|selectattr('v', 'gt', 1)|map(attribute='k')|join }} {{ rows|map(attribute='n.z')|sum }} {{ rows|map(attribute='q', default='-')|list }}
{{ messages|selectattr('role','equalto','user')|list|length }} {{ (messages|selectattr('role','equalto','user')|list)[-1].content }}
{{ messages|map('tojson')|join('|') }}
{% for x in l %}{% break %}{% else %}E{% endfor %} {% for x in l %}{% continue %}{% else %}E{% endfor %} {% for x in l %}{% if loop.last %}{% break %}{% endif %}{% else %}E{% endfor %}
{{ 1 if true if false }}|{{ 1 if true else 2 if false else 3 }}|{{ 1 if false if true else 3 }}
{{ [1,'<x>'|e] }} {{ {'a':'<'|safe} }} {{ ['<'|e]|tojson }} {{ '%s' % ['<'|e] }} {{ ('<'|e)|pprint }}
{{ 'abc'|indent(2, true) }}|{{ 'a\n\nb'|indent }}|{{ 'a\n\nb'|indent(2,true,true) }}|{{ 'a\r\nb\x0bc'|indent }}
{{ 'a' is filter }} {{ 'upper' is filter }} {{ 5 is filter }} {{ none is test }} {{ 'odd' is test }} {{ '==' is test }}
{{ [] is filter }}
{{ missing|indent }}
{{ none|truncate }}
{{ [1]|truncate }} {{ missing|truncate }} {{ {'a':1}|truncate }}
{{ [1,2,3]|truncate(3, leeway=0) }} {{ [1,2,3,4]|truncate(3, leeway=0) }}
{{ 5|wordwrap }}
{{ ['a','b']|unique(attribute='x')|list }}
{{ {missing: 1} }} {{ {(1,2): 3}[1,2] }} {{ {1: 2}[1.0] }} {{ {true: 1}[1] }}
{{ d.items()[0] }} {{ d.keys()[0] }} {{ d.values()[0] }} {{ (d.items()|list)[0] }}
{{ n[1:] }}
{{ l['a':] }}
{{ s['a'] }} {{ s[1.5] }} {{ s[none] }} {{ l[true] }} {{ l['0'] }} {{ d[[]] }} {{ d[{}] }}
{{ 'a' * 3 }}{{ 2.5 // 1 }}{{ 7 % 2.5 }}{{ -7 // 2.0 }}{{ 1e400 }}{{ 2 ** 0.5 }}{{ 0 ** 0 }}{{ 10 ** -2 }}
{{ 1 / 3 }} {{ 10 / 4 }} {{ 4 / 2 }} {{ 1e16 / 1 }} {{ 123456789 / 1000 }}
{{ 7.0 }} {{ 1e22 }} {{ 1e21 }} {{ 123456789012345680000.0 }} {{ 1.1e-5 }} {{ 100000000000000000.0 }} {{ 0.1 + 0.2 }}
{{ 3.7|int }} {{ '3.7'|int }} {{ 'x'|int }} {{ '0x1f'|int(base=16) }} {{ ' 5 '|int }} {{ '5_0'|int }} {{ '٣'|int }} {{ '1e3'|int }} {{ 'inf'|int }}
{{ '٣'|float }} {{ '1e3'|float }} {{ ' 1.5 '|float }} {{ '.5'|float }} {{ '5.'|float }} {{ 'nan'|float }} {{ '-inf'|float }} {{ '1_0.5'|float }} {{ '0x10'|float }} {{ ''|float }}
{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ -2.5|round }} {{ 1234.5|round(-2) }} {{ 5|round }} {{ 5|round(-1) }} {{ 15|round(-1) }} {{ 2.1|round(0,'ceil') }} {{ 2.15|round(1,'floor') }} {{ true|round }}
{{ '%d' % 3.9 }} {{ '%5.2f|%-5d|%05d|%+d|%x|%o|%e|%g|%%|%c|%r|%s' % (3.14159, 42, 42, 42, 255, 8, 12345.678, 0.0001, 'x', 'q', none) }}
{{ '%s %s' % ('a',) }}
{{ '%s' % ('a','b') }}
{{ '%(a)s %(a)05d' % {'a': 5} }} {{ '%s' % {'a': 5} }} {{ '%s' % [1,2] }} {{ 'x' % [] }} {{ 'x' % {} }}
{{ 'x' % 5 }}
{{ '%q' % 5 }}
{{ '{:>10}|{:<5}|{:^7}|{:05d}|{:,}|{:.2f}|{:%}|{:x}|{:#x}|{:e}|{!r}|{:*^9}'.format('a','b','c',42,1234567,3.14159,0.5,255,255,1234.5,'q','z') }}
{{ '{0} {1} {0} {a} {b.x} {c[0]} {d[k]}'.format(1, 2, a=3, b={'x': 4}, c=[5], d={'k': 6}) }}
{{ '{' .format() }}
{{ '{} {0}'.format(1, 2) }}
{{ '{:{w}}'.format('a', w=5) }}|{{ '{:{}}'.format('a', 5) }}
{{ '{a}'.format_map({'a': 1}) }}
{{ 'x' % missing }} {{ '%s' % missing }} {{ 'x' % range(3) }}
{{ joiner() in d }} {{ (l|select) in d }} {{ {namespace(): 1}|length }} {{ [namespace(), namespace()]|unique|list|length }} {{ range(3) in [range(3)] }}
{{ cycler(1,2).items }} {{ cycler(1,2).pos }} {{ cycler(1,2).current }}
{{ [l|select] == [l|select] }}
{{ 'é' is lower }} {{ 'ß'|upper }} {{ 'ǆ'|title }} {{ 'İ'|lower|length }} {{ 'ŉ'|upper }} {{ 'ﬁ'.title() }} {{ 'ΑΣ'.lower() }} {{ 'σς'.upper() }} {{ 'ǅ'.isupper() }} {{ 'ª'.islower() }} {{ 'Ⅷ'.lower() }} {{ 'ⅷ'.isnumeric() }} {{ '½'.isdigit() }} {{ '²'.isdecimal() }} {{ 'ß'.casefold() }} {{ 'İ'.casefold() }} {{ 'ﬀ'.casefold() }} {{ 'ẞ'.swapcase() }} {{ "o'neil's".title() }} {{ "o'neil's"|title }} {{ 'hello-world (x) [y] {z} <w>'|title }}
{{ '\u1680a\u2003b\u3000'.split() }} {{ '\x1ca\x85b\u2028c'.splitlines() }} {{ ' \u00a0x\u200b '|trim }} {{ '\u200b'.isspace() }} {{ 'a\u00adb'.isprintable() }} {{ 'é'.isidentifier() }} {{ '1a'.isidentifier() }} {{ '_'.isidentifier() }} {{ '·a'.isidentifier() }} {{ 'a·'.isidentifier() }} {{ '℘'.isidentifier() }} {{ 'ª'.isalpha() }} {{ '٣'.isdigit() }} {{ '一'.isnumeric() }} {{ '一'.isalnum() }}
{{ ['\u200b', '\u2028', '\ue000', '\U0001f600', '\u0378', '\x9f', '\xad', '\ufeff', '\u3000'] }}
{{ 'a,b,,c'.split(',') }} {{ 'a,b,,c'.rsplit(',', 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ ' a  b '.split() }} {{ ' a  b '.split(' ') }} {{ ' a b c'.split(none, 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ 'abcabc'.split('bc', maxsplit=1) }}
{{ 'abc'.find('c', -1) }} {{ 'abc'.find('', 5) }} {{ 'abc'.rfind('') }} {{ 'abc'.count('') }} {{ 'aaa'.count('aa') }} {{ 'abc'.index('b', 0, 2) }} {{ 'äbc'.find('c') }} {{ 'abc'.startswith('') }} {{ 'abc'.startswith('c', 2) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abc'.startswith(('x','a')) }} {{ 'abc'.startswith(()) }}
{{ 'abc'.startswith(['a']) }}
{{ 'abc'.startswith(1) }}
{{ 'a'.replace('a') }}
{{ 'aXbX'.replace('X', '', -1) }} {{ 'aXbX'.replace('', '-') }} {{ 'aXbX'.replace('X', '--', 0) }} {{ 'aXbX'|replace('X', '', 1) }} {{ 5|replace(5, 6) }}
{{ 'abc'.strip('ca') }} {{ 'xxabcxx'.lstrip('x') }} {{ 'abc'.strip('') }} {{ 'abc'.strip(none) }} {{ ' a '.rstrip() }}|
{{ 'abc'.partition('b') }} {{ 'abc'.rpartition('x') }} {{ 'a'.zfill(3) }} {{ '-1'.zfill(4) }} {{ 'ab'.center(5, '*') }} {{ 'ab'.center(6) }}| {{ 'abc'.center(6,'*') }} {{ 'abc'.ljust(5, '.') }} {{ 'abc'.rjust(5) }} {{ 'a\tb'.expandtabs() }} {{ 'ab'|center(5) }}|
{{ d|tojson }} {{ d|tojson(indent=2) }} {{ d|tojson(sort_keys=true) }} {{ d|tojson(separators=(',',':')) }} {{ d|tojson(ensure_ascii=true) }} {{ [1.0, 1e100, 1e-7, true, none]|tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 6}|tojson }} {{ []|tojson(indent=2) }} {{ {}|tojson(indent=2) }} {{ [[], {}]|tojson(indent=2) }} {{ 'a/b<>&\'\u2028\x7f'|tojson }} {{ (1,2)|tojson }} {{ rows|tojson(indent=1) }} {{ 'x'|tojson|length }}
{{ {(1,2): 3}|tojson }}
{{ {1: 2, 'a': 3}|tojson(sort_keys=true) }}
{{ d|tojson(2) }}
{{ d|tojson(indent='--') }} {{ d|tojson(indent=0) }} {{ d|tojson(indent=-1) }} {{ d|tojson(indent=true) }}
{{ d|tojson(skipkeys=true) }}
{{ d|dictsort }} {{ {'b':1,'A':2}|dictsort }} {{ {'b':1,'A':2}|dictsort(true) }} {{ {'b':2,'a':1}|dictsort(by='value') }} {{ {'b':2,'a':1}|dictsort(reverse=true) }}
{{ {1:1,'a':2}|dictsort }}
{{ names|sort }} {{ names|sort(case_sensitive=true) }} {{ names|sort(reverse=true) }} {{ rows|sort(attribute='k,v')|map(attribute='v')|list }} {{ rows|sort(attribute='n.z')|map(attribute='v')|list }} {{ [3,1.5,true]|sort }} {{ 'cab'|sort }} {{ d|sort }}
{{ [1,'a']|sort }}
{{ names|unique|list }} {{ names|min }} {{ names|max }} {{ []|min }} {{ rows|max(attribute='v') }} {{ [1,2]|sum }} {{ [[1],[2]]|sum(start=[]) }} {{ rows|sum(attribute='v') }}
{% for g in rows|groupby('k') %}{{ g.grouper }}:{{ g.list|map(attribute='v')|list }}{{ g[0] }} {% endfor %}{% for a, b in rows|groupby('k') %}{{ a }}{{ b|length }}{% endfor %}{{ rows|groupby('k')|length }} {{ rows|groupby('zz', default='q') }}
{{ l|batch(2,'x')|list }} {{ l|slice(2,'x')|list }} {{ range(7)|slice(3)|list }} {{ range(7)|batch(3)|map('list')|list }}
{{ messages|length }} {{ messages|first }} {{ (messages|last).content }} {{ messages[-1]['role'] }} {{ messages[::-1]|map(attribute='role')|list }} {{ messages[1:]|length }} {{ messages.0.role }}
{{ namespace(a=1).a }} {{ namespace({'a':1}).a }} {{ namespace({'a':1}, b=2) }} {{ namespace().x is defined }}
{% set ns = namespace(items=[]) %}{{ ns.items }}{% set ns.items = ns.items + [1] %}{{ ns.items }}{{ ns['items'] }}
{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}
{{ namespace(_a=1) }}
{% set ns = namespace() %}{% set ns._a = 1 %}
{{ d['items'] }} {{ d.get('items') }} {{ d.a }} {{ d['a'] }} {{ d.b.c }} {{ d.keys()|list }} {{ d.values()|list }} {{ 'items' in d }}
{{ s.__class__ }}
{{ l.append(1) }}
{{ d.update({}) }}
{{ d.pop('a') }}
{{ (l + [4]).index(4) }} {{ l.count(1) }} {{ l.copy() }} {{ (1,2).index(2) }} {{ d.copy() == d }}
{{ l.insert(0, 1) }}
{{ l.extend([1]) }}
{{ d.setdefault('a', 1) }}
{{ 'abc'|list }} {{ 'abc'|first }} {{ 'abc'|last }} {{ ''|first }} {{ 'abc'|reverse }} {{ d|first }} {{ d|last }} {{ d|list }} {{ d|length }} {{ (1,2)|reverse|list }}
{{ 5|list }}
{{ none|list }}
{{ 5|first }}
{{ missing|first }} {{ missing|list }} {{ missing|join }} {{ missing|length }} {{ missing|upper }}
{{ 'x'|default('y') }} {{ ''|default('y') }} {{ ''|default('y', true) }} {{ none|default('y') }} {{ none|default('y', true) }} {{ missing|default }}| {{ missing.x|default('q') }}
{{ d.zz|default('y') }} {{ d.zz.yy|default('q') }}
{{ (missing|default({})).x }}
{{ '<b>&"\''|e }} {{ '<b>'|escape|escape }} {{ '<b>'|forceescape }} {{ '<b>'|safe|e }} {{ ('<'|e) ~ '<' }} {{ ('<'|e) + '<' }} {{ '<' ~ ('<'|e) }} {{ ['<', '<'|e]|join }} {{ '%s'|e|format('<') }} {{ ('<'|e) * 2 }} {{ ('<'|e)|upper }} {{ ('a'|e).join(['<','b']) }} {{ ('<'|e)|replace('&','<') }} {{ ('<'|e)|length }} {{ '&lt;'|striptags }} {{ ('<'|e) is escaped }} {{ ('<'|e)[0] }} {{ ('<'|e) == '&lt;' }}
{{ [1, [2, [3]]]|string }} {{ {'a': (1,)}|string }} {{ none|string }} {{ true|string }} {{ 1.0|string }} {{ 'a'|string }}
{{ raise_exception('no: ' ~ 5) }}
{{ raise_exception() }}
{{ raise_exception(5) }}
{% if messages[0].content is string %}s{% endif %}{% if messages[0].content is not string %}n{% endif %}{% if messages[0]['content'] is iterable and messages[0]['content'] is not mapping %}i{% endif %}
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alt') }}{% endif %}{{ message.content|trim }}{{ eos_token if not loop.last }}{% endfor %}
{%- set system = messages | selectattr("role", "equalto", "system") | map(attribute="content") | list -%}{{ system | first | default("none") }}
{{ messages | rejectattr('role', 'in', ['user', 'system']) | list | length }} {{ messages | rejectattr('zz') | list | length }} {{ messages|selectattr('zz','defined')|list }}
{{ 'é'|urlencode }} {{ {'a b': 'c&d'}|urlencode }} {{ 'a b/c?d'|urlencode }} {{ [('a',1)]|urlencode }}
{{ 'a long text here'|wordwrap(6) }} {{ 'abcdefghij'|wordwrap(4) }} {{ 'a-b c-d'|wordwrap(3) }} {{ 'hello world'|wordcount }} {{ 'foo bar baz'|truncate(7) }} {{ 'foo bar baz'|truncate(5, true) }} {{ 'foo bar baz'|truncate(11) }}
{{ 'x'|xmlattr }}
{{ {'a':'<','b':none,'c':1}|xmlattr }} {{ 1000|filesizeformat }} {{ 1024|filesizeformat(true) }} {{ 1500000|filesizeformat }} {{ '100'|filesizeformat }}
{{ [[1,2],[3,4]]|map('first')|list }} {{ ['a','b']|map('upper')|join('-') }} {{ [1,2]|map('string')|map('length')|list }} {{ rows|map(attribute='k')|unique|join }} {{ [1,2]|map('multiply', 2)|list }}
{{ [1,2,3]|select('odd')|list }} {{ [0,1,none,'']|select|list }} {{ [0,1]|reject|list }} {{ [1,2,3]|select('>', 1)|list }} {{ [1,2,3]|select('in', (1,3))|list }} {{ names|select('equalto', 'bob')|list }} {{ ['a',1]|select('string')|list }} {{ [1,2,3]|reject('divisibleby', 2)|list }}
{{ 1 in [1.0] }} {{ '1' in [1] }} {{ none in [none] }} {{ missing in [missing] }} {{ [1] in [[1]] }} {{ {'a':1} in [{'a':1}] }} {{ (1,) in {(1,): 2} }} {{ 'a' in ('a',) }} {{ 'ab' in 'abc' }} {{ '' in '' }}
""".strip("\n").split("\n")
