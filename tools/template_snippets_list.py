"""The templates that template_snippets.py renders: one thing of Jinja each, and idioms of chat templates."""

VARIABLES = {
    "messages": [
        {"role": "user", "content": " Hello & <you>!\n"},
        {"role": "assistant", "content": "<think>hm</think>\n\nHi 🦙"},
        {"role": "user", "content": "Go on"},
    ],
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "n": 7,
    "f": 0.1,
    "s": "Hello, World",
    "words": "the quick brown fox",
    "l": [3, 1, 2],
    "names": ["bob", "Alice", "carol", "alice"],
    "d": {"b": 1, "a": [1, 2.5, None, True], "é": "ü\n\"'", "items": 5},
    "rows": [{"k": "x", "v": 1, "n": {"z": 3}}, {"k": "y", "v": 2, "n": {"z": 1}}, {"k": "x", "v": 3, "n": {"z": 2}}],
    "schema": {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get it's \"weather\" <now> & then",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    },
    "none": None,
    "yes": True,
    "empty": "",
}

SNIPPETS = r"""
{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 // -2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }}
{{ 7 / 2 }} {{ 6 / 2 }} {{ 1 / 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }}
{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ (-2) ** 2 }}
{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1.0 % 0 }}
{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789012345678.0 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1e-7 }} {{ 1.5e300 * 1e10 }}
{{ 1e308 * 10 }} {{ -1e308 * 10 }} {{ 1.0 }} {{ -0.0 }} {{ 100.0 }} {{ 5e-324 }} {{ 1e22 }} {{ 1.7976931348623157e308 }}
{{ 10_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_0.5 }} {{ 1.5e3 }} {{ 2E2 }}
{{ 12345678901234567890123 }} {{ 12345678901234567890123 * 2 }} {{ 9223372036854775807 + 1 }} {{ -9223372036854775808 - 1 }} {{ 2 ** 64 }}
{{ true }} {{ false }} {{ none }} {{ True }} {{ False }} {{ None }} {{ yes }} {{ tools }}
{{ true + 1 }} {{ true + true }} {{ false * 3 }} {{ -true }} {{ +true }}
{{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' == 'a' }} {{ none == false }} {{ 0 == false }} {{ '1' == 1 }} {{ [1] == [1.0] }} {{ [1] == (1,) }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 != 1 }} {{ 1 == 1 == true }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ [1, 2] < [1, 3] }} {{ 'a' < 'b' }} {{ 'Z' < 'a' }} {{ (1, 'b') < (1, 'c') }}
{{ {} == {} }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ {'a': 1} != {'a': 2} }}
{{ 'a' in 'abc' }} {{ 'd' not in 'abc' }} {{ 2 in [1, 2] }} {{ 'b' in d }} {{ 'x' in d }} {{ '' in 'abc' }} {{ not 'a' in 'b' }}
{{ 1 in 'abc' }}
{{ 'a' in none }}
{{ 'a' in 5 }}
{{ 'a' in missing }} {{ missing in [1] }} {{ missing in [missing] }}
{{ not true }} {{ not none }} {{ not '' }} {{ not [] }} {{ not 0.0 }} {{ not missing }} {{ not {} }}
{{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 'x' }} {{ '' or none or 'last' }} {{ none and missing }} {{ 1 and 2 or 3 }} {{ not 1 or 2 }}
{{ 'a' ~ 1 ~ 2.0 ~ none ~ true ~ missing ~ [1, 'x'] }}
{{ 1 ~ 2 + 3 }}
{{ 1 + 2 ~ 3 }}
{{ 'a' + 'b' }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ 'ab' * 0 }} {{ 'ab' * -1 }} {{ [1] * 3 }} {{ [1] + [2] }} {{ (1,) + (2,) }}
{{ 'a' + 1 }}
{{ [1] + (2,) }}
{{ 1 + none }}
{{ 'a' - 'b' }}
{{ 'a' * 1.5 }}
{{ -'a' }}
{{ - 5 }} {{ --5 }} {{ +5 }} {{ -n }} {{ -n|abs }} {{ -5|abs }} {{ (-5)|abs }}
{{ 'yes' if true else 'no' }} {{ 'yes' if false }} {{ 'a' if 0 else 'b' if 0 else 'c' }} {{ ('x' if false) is defined }}
{{ [] }} {{ [1, 'a', none, true, 1.5] }} {{ (1,) }} {{ () }} {{ (1, 2) }} {{ {} }} {{ {'a': 1, 2: 'b'} }} {{ [1, 2,] }} {{ 1, 2 }}
{{ ['it\'s', "say \"x\"", 'both \' and "', 'a\nb\t\\', 'é🦙', '\x00\x7f'] }}
{{ 'a' 'b' "c" }}
{{ 'tab\there' }}|{{ "nl\nx" }}|{{ 'q\'q' }}|{{ "\x41\u00e9\U0001F999" }}|{{ '\101' }}|{{ '\q' }}|{{ 'é' }}|{{ '\\n' }}
{{ "\u4f60\u597d ü" }}
{{ missing }}|{{ missing is defined }}|{{ missing is undefined }}|{{ missing | length }}|{{ missing | default('x') }}
{{ missing.attribute }}
{{ missing['x'] }}
{{ missing[0] }}
{{ missing() }}
{{ missing + 1 }}
{{ missing < 1 }}
{{ -missing }}
{{ missing == missing }} {{ missing == none }} {{ missing != 1 }} {{ missing == '' }}
{% for x in missing %}x{% else %}none{% endfor %}
{{ missing|upper }}|{{ missing|trim }}|{{ missing|join(',') }}|{{ missing|list }}|{{ missing|first }}|{{ missing|string }}|{{ missing|sort }}
{{ missing|int }}
{{ missing|float }}
{{ missing|tojson }}
{{ missing|abs }}
{{ missing is string }} {{ missing is sequence }} {{ missing is iterable }} {{ missing is mapping }} {{ missing is number }} {{ missing is none }} {{ missing is callable }}
{{ d.nothing }}|{{ d['nothing'] }}|{{ d.nothing is defined }}|{{ l[10] }}|{{ l[-1] }}|{{ l['x'] }}|{{ s.nothing }}|{{ n.x }}
{{ d.nothing.more }}
{{ none.x }}|{{ none['x'] }}|{{ none[0] }}
{{ none.x.y }}
{{ none + '' }}
{{ none | length }}
{{ none is iterable }} {{ none is sequence }} {{ none is mapping }} {{ none is string }} {{ none is none }} {{ none is defined }} {{ 5 is iterable }} {{ 'a' is iterable }}
{{ tools is iterable and tools | length > 0 }}
{% for x in none %}{% endfor %}
{% for x in 5 %}{% endfor %}
{{ [] is sequence }} {{ () is sequence }} {{ {} is sequence }} {{ 'a' is sequence }} {{ 1 is sequence }} {{ range(3) is sequence }} {{ d.keys() is sequence }} {{ (l|map('string')) is sequence }} {{ (l|map('string')) is iterable }}
{{ 1 is number }} {{ 1.0 is number }} {{ true is number }} {{ '1' is number }} {{ true is integer }} {{ 1 is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ 1 is boolean }}
{{ {} is mapping }} {{ [] is mapping }} {{ 'a' is string }} {{ 1 is string }} {{ namespace() is mapping }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 3 is not even }} {{ -3 is odd }}
{{ 'a' is odd }}
{{ 1 is eq 1 }} {{ 1 is equalto(2) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ 3 is greaterthan 2 }} {{ 1 is lessthan 2 }} {{ 2 is le 1 }} {{ 2 is gt 1 }}
{{ 1 is in [1, 2] }} {{ 'a' is in 'abc' }} {{ 3 is not in [1] }}
{{ true is true }} {{ 1 is true }} {{ false is false }} {{ none is false }} {{ none is sameas none }} {{ 1 is sameas 1.0 }}
{{ 'abc' is lower }} {{ 'Abc' is lower }} {{ 'ABC' is upper }} {{ '1' is upper }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ 'a' is escaped }}
{{ range is callable }} {{ s.upper is callable }} {{ 1 is callable }} {{ joiner() is callable }}
{{ 1 is nonsense }}
{{ 1 | nonsense }}
{{ not 1 is odd }} {{ 1 is odd and 2 is even }} {{ (1 is odd) == true }}
{{ l[0] }} {{ l[-1] }} {{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ l[5:] }} {{ l[-2:] }} {{ l[2:0:-1] }} {{ l[:0] }} {{ l[1:2] }} {{ l[:] }}
{{ s[0] }} {{ s[-1] }} {{ s[7:] }} {{ s[::-1] }} {{ s[:5] }} {{ s[-5:-1] }} {{ s[5:2] }} {{ s[::3] }} {{ 'é🦙x'[1] }} {{ 'é🦙x'[::-1] }} {{ s[10:0:-3] }} {{ s[-1:-20:-4] }}
{{ (1, 2, 3)[1:] }} {{ range(10)[2:5] | list }} {{ range(10)[3] }} {{ range(5)[-1] }} {{ (1, 2)[0] }}
{{ messages[1:] | length }} {{ messages[::-1][0].content }} {{ messages[-1]['content'] }} {{ messages[:-1] | length }}
{{ tools[1:] }}
{{ 5[0] }}
{{ d[1:] }}
{{ l[::0] }}
{{ l['0'] }}{{ l.0 }} {{ rows.0.k }} {{ rows[0].n.z }} {{ rows[0]['n']['z'] }}
{{ l[1.5] }}|{{ l[true] }}|{{ s[100] }}
{{ d['items'] }} {{ d.items is callable }} {{ d.b }} {{ d['b'] }} {{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 'default') }}
{{ {'items': 1}['items'] }} {{ {'a': 1}.items() | list }} {{ {'get': 1}['get'] }}
{{ {'a': 1}.keys() }} {{ {'a': 1}.values() }} {{ {'a': 1}.items() }} {{ {}.items() }} {{ d.keys() | list }}
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}
{% for k in d %}{{ k }},{% endfor %}{% for v in {'x': 9}.values() %}{{ v }}{% endfor %}
{{ {1: 'a', '1': 'b', true: 'c'} }} {{ {1: 'a'}[1.0] }} {{ {none: 1}[none] }} {{ {(1, 2): 3}[(1, 2)] }}
{{ {[]: 1} }}
{{ {'a': 1}.copy() }} {{ dict(a=1, b='x') }} {{ dict({'a': 1}, b=2) }} {{ dict([('a', 1), ('b', 2)]) }} {{ dict() }} {{ dict.fromkeys(['a'], 1) }}
{{ l.append(4) }}
{{ d.update({'x': 1}) }}
{{ d.pop('b') }}
{{ d.clear() }}
{{ l.append is defined }} {{ l.index(1) }} {{ l.count(1) }} {{ l.index(2, 1) }} {{ (1, 2, 1).count(1) }} {{ l.copy() }}
{{ l.index(9) }}
{{ l.sort() }}
{{ s.__class__ }}|{{ s.__class__ is defined }}
{{ ''.__class__.__mro__ }}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ 'hELLO wORLD'.capitalize() }} {{ "they're bill's".title() }} {{ s.swapcase() }} {{ 'ß'.upper() }} {{ 'Straße'.casefold() }}
{{ '  x y '.strip() }}|{{ '  x '.lstrip() }}|{{ ' x  '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.lstrip('ab') }}|{{ 'abcba'.rstrip('ab') }}|{{ '\n\t x'.strip() }}|{{ ' x '.strip(none) }}|{{ 'x'.strip('') }}
{{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ ' a  b '.split() }} {{ 'a b c'.split(none, 1) }} {{ 'a b  c '.split(' ') }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a<|b|>c'.split('<|b|>')[-1] }} {{ 'a b c'.split(maxsplit=1) }} {{ 'a-b'.split(sep='-') }}
{{ 'a,b,c'.rsplit(',', 1) }} {{ 'a b  c'.rsplit() }} {{ ' a b c '.rsplit(none, 1) }} {{ ' a b c '.split(none, 1) }} {{ 'abc'.rsplit('x') }} {{ 'a b'.split(none, 0) }} {{ ' a b '.split(none, 5) }}
{{ 'a'.split('') }}
{{ 'a\nb\r\nc\rd'.splitlines() }} {{ 'a\nb\n'.splitlines(true) }} {{ ''.splitlines() }} {{ '\n'.splitlines() }} {{ 'a\x0cb'.splitlines() }}
{{ 'hello'.startswith('he') }} {{ 'hello'.startswith(('x', 'he')) }} {{ 'hello'.endswith('lo') }} {{ 'hello'.endswith(('x', 'y')) }} {{ 'hello'.startswith('l', 2) }} {{ 'hello'.endswith('l', 0, 4) }} {{ 'hello'.startswith('') }}
{{ 'hello'.startswith(['he']) }}
{{ 'hello'.startswith(1) }}
{{ 'aaa'.replace('a', 'b') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.replace('', '-', 2) }} {{ 'abc'.replace('x', 'y') }} {{ 'aaa'.replace('a', '', 1) }} {{ 'a'.replace('a', 'b', 0) }} {{ 'aa'.replace('a', 'b', -1) }}
{{ 'abc'.find('c') }} {{ 'abc'.find('z') }} {{ 'é🦙c'.find('c') }} {{ 'abcabc'.rfind('b') }} {{ 'abcabc'.find('b', 2) }} {{ 'abc'.index('b') }} {{ 'abcabc'.rindex('a') }} {{ 'abc'.find('b', 0, 1) }} {{ 'abc'.find('', 3) }} {{ 'abc'.find('c', -1) }}
{{ 'abc'.index('z') }}
{{ 'banana'.count('a') }} {{ 'banana'.count('ana') }} {{ 'banana'.count('') }} {{ 'banana'.count('a', 2) }}
{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }} {{ 'abc'.rpartition('=') }}
{{ '42'.zfill(5) }} {{ '-42'.zfill(5) }} {{ 'abc'.center(7) }}| {{ 'abc'.center(8, '*') }} {{ 'ab'.center(5, '-') }} {{ 'ab'.ljust(5) }}| {{ 'ab'.rjust(5, '.') }} {{ 'abc'.center(2) }}
{{ ','.join(['a', 'b']) }} {{ ''.join(('x', 'y')) }} {{ '-'.join('abc') }} {{ ', '.join({'k': 1}) }} {{ ','.join([]) }}
{{ ','.join([1, 2]) }}
{{ '123'.isdigit() }} {{ '12a'.isdigit() }} {{ ''.isdigit() }} {{ 'abc'.isalpha() }} {{ 'ab1'.isalnum() }} {{ '  '.isspace() }} {{ 'ABC'.isupper() }} {{ 'abc'.islower() }} {{ 'Ab Cd'.istitle() }} {{ 'a_1'.isidentifier() }} {{ '1a'.isidentifier() }} {{ 'é'.isascii() }} {{ '12'.isnumeric() }} {{ '12'.isdecimal() }} {{ 'a\n'.isprintable() }}
{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.txt'.removesuffix('.txt') }} {{ 'abc'.removeprefix('z') }} {{ 'a\tb'.expandtabs(4) }}
{{ '{} {}'.format('a', 1) }} {{ '{1} {0}'.format('a', 'b') }} {{ '{x}'.format(x=5) }} {{ '{{}}'.format() }} {{ '{0.k} {0[v]}'.format(rows[0]) }}
{{ '{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd') }} {{ '{:05d}'.format(42) }} {{ '{:+d}'.format(3) }} {{ '{:,}'.format(1234567) }} {{ '{:x} {:X} {:#x} {:b} {:o}'.format(255, 255, 255, 5, 8) }}
{{ '{:.2f}'.format(3.14159) }} {{ '{:.3e}'.format(12345.678) }} {{ '{:g}'.format(0.00001) }} {{ '{:.1%}'.format(0.256) }} {{ '{:8.3f}|'.format(3.14159) }} {{ '{:,.2f}'.format(1234.5) }} {{ '{!r}'.format('a') }} {{ '{!s:>4}'.format(1) }} {{ '{:{}}|'.format('a', 4) }} {{ '{:.2}'.format('abc') }} {{ '{:_}'.format(1000000) }}
{{ '{:d}'.format(1.5) }}
{{ '{}'.format() }}
{{ '{:d}'.format('a') }}
{{ '{'.format() }}
{{ '{} {0}'.format(1) }}
{{ '{.x}'.format(1) }}
{{ '%s and %s' % ('a', 1) }} {{ '%d' % 5 }} {{ '%5d|%-5d|%05d' % (1, 2, 3) }} {{ '%.2f' % 3.14159 }} {{ '%x %X %o' % (255, 255, 8) }} {{ '%%' % () }} {{ '%s' % none }} {{ '%r' % 'a' }} {{ '%(a)s %(b)d' % {'a': 'x', 'b': 2} }} {{ '%s' % [1, 2] }} {{ '%+d' % 5 }} {{ '%e' % 12345.678 }} {{ '%g' % 1e10 }} {{ '%c' % 'x' }} {{ '%5s|' % 'a' }} {{ '%-5s|' % 'a' }} {{ '%.2s' % 'abc' }} {{ '%i' % 3.9 }}
{{ '%d' % 'a' }}
{{ '%s %s' % 'a' }}
{{ '%s' % ('a', 'b') }}
{{ '%y' % 1 }}
{{ '%s %s'|format('a', 2) }} {{ '%(x)s'|format(x=1) }} {{ '%.1f'|format(2.25) }}
{{ s|upper }} {{ s|lower }} {{ 'hello world-foo (bar)'|title }} {{ 'HELLO'|capitalize }} {{ 1|upper }} {{ none|upper }} {{ 'a b'|title }}
{{ '  x '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ '\n a\n'|trim }}|{{ 5|trim }}
{{ 'a.b.c'|replace('.', '-') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ 112|replace(1, 3) }} {{ 'aaa'|replace('a', 'b', count=1) }}
{{ l|length }} {{ s|length }} {{ d|length }} {{ l|count }} {{ 'é🦙'|length }} {{ ()|length }} {{ range(4)|length }} {{ d.items()|length }}
{{ 5|length }}
{{ (l|map('string'))|length }}
{{ l|first }} {{ l|last }} {{ s|first }} {{ s|last }} {{ []|first }} {{ d|first }} {{ []|last }}
{{ l|join }} {{ l|join(', ') }} {{ rows|join(',', attribute='k') }} {{ rows|join('-', 'v') }} {{ 'abc'|join('.') }} {{ [1, none, true]|join(' ') }} {{ d|join(',') }}
{{ l|sort }} {{ l|sort(reverse=true) }} {{ names|sort }} {{ names|sort(case_sensitive=true) }} {{ rows|sort(attribute='v', reverse=true)|map(attribute='v')|list }} {{ rows|sort(attribute='k,v')|map(attribute='v')|list }} {{ rows|sort(attribute='n.z')|map(attribute='v')|join }} {{ d|sort }} {{ 'hello'|sort }} {{ names|sort(true) }}
{{ [1, 'a']|sort }}
{{ ['b', 'a']|sort(attribute='v') }} {{ [none, none]|sort }} {{ rows|sort(attribute='zz', reverse=true)|map(attribute='v')|list }}
{{ [{'v': 1}, {}]|sort(attribute='v') }}
{{ [none, 1]|sort }}
{{ l|reverse|list }} {{ 'abc'|reverse }} {{ (1, 2)|reverse|list }} {{ {'a': 1, 'b': 2}|reverse|list }}
{{ names|unique|list }} {{ names|unique(case_sensitive=true)|list }} {{ [1, 1.0, true, 2]|unique|list }} {{ rows|unique(attribute='k')|map(attribute='v')|list }}
{{ l|max }} {{ l|min }} {{ names|max }} {{ names|min }} {{ names|min(case_sensitive=true) }} {{ rows|max(attribute='v') }} {{ []|max }} {{ []|min is defined }} {{ 'abc'|max }}
{{ l|sum }} {{ rows|sum(attribute='v') }} {{ l|sum(start=10) }} {{ [0.1, 0.2]|sum }} {{ []|sum }} {{ [[1], [2]]|sum(start=[]) }}
{{ ['a']|sum }}
{{ l|map('string')|list }} {{ names|map('upper')|join(',') }} {{ rows|map(attribute='k')|list }} {{ rows|map(attribute='q', default='-')|list }} {{ ['1', 'x']|map('int', 9)|list }} {{ names|map('replace', 'b', 'c')|list }} {{ [[1, 2], [3]]|map('first')|list }} {{ [[1, 2], [3]]|map(attribute=0)|list }}
{{ rows|map(attribute='n.z')|list }} {{ rows|map(attribute='q')|list }} {{ rows|map(attribute='q')|map('default', 'u')|list }}
{{ [1]|map('nope')|list }}
{{ [1]|map|list }}
{{ [0, 1, '', 'a', none]|select|list }} {{ range(6)|select('odd')|list }} {{ range(6)|reject('divisibleby', 3)|list }} {{ range(6)|select('gt', 3)|list }} {{ [0, 1]|reject|list }} {{ names|select('in', ['bob'])|list }} {{ ['a', 1]|select('string')|list }} {{ [1, none]|reject('none')|list }} {{ range(5)|select('>=', 3)|list }}
{{ rows|selectattr('k', 'equalto', 'x')|map(attribute='v')|list }} {{ rows|rejectattr('k', 'eq', 'x')|list|length }} {{ rows|selectattr('v')|list|length }} {{ rows|selectattr('q', 'defined')|list }} {{ rows|selectattr('q', 'undefined')|list|length }} {{ rows|selectattr('n.z', 'gt', 1)|list|length }} {{ messages|selectattr('role', '==', 'user')|list|length }} {{ messages|rejectattr('role', 'in', ['user'])|map(attribute='role')|first }}
{% for g in rows|groupby('k') %}{{ g.grouper }}:{{ g.list|length }};{% endfor %}{% for k, items in rows|groupby('k') %}{{ k }}{{ items|map(attribute='v')|list }}{% endfor %}
{% for k, items in ['b', 'A', 'a']|groupby(0) %}{{ k }}{{ items }}{% endfor %}{{ rows|groupby('q', default='z')|length }}
{{ {'b': 1, 'A': 3, 'c': 2}|dictsort }} {{ {'b': 1, 'A': 3}|dictsort(true) }} {{ {'b': 1, 'A': 3}|dictsort(by='value') }} {{ {'b': 1, 'A': 3}|dictsort(reverse=true) }} {{ {'b': 1, 'A': 3}|dictsort(false, 'value', true) }}
{{ d|items|list|length }} {% for k, v in {'x': 1}|items %}{{ k }}{{ v }}{% endfor %} {{ missing|items|list }}
{{ [1]|items|list }}
{{ range(7)|batch(3)|list }} {{ range(7)|batch(3, 'x')|list }} {{ range(7)|slice(3)|list }} {{ range(7)|slice(3, 'x')|list }} {{ []|batch(2)|list }} {{ [1]|slice(3)|list }} {{ range(4)|batch(2)|map('sum')|list }}
{{ 'abc'|list }} {{ d|list }} {{ (1, 2)|list }} {{ range(3)|list }} {{ range(2, 8, 3)|list }} {{ range(5, 0, -2)|list }} {{ range(0) }} {{ range(3) }} {{ range(1, 9, 2) }}
{{ range(1000000) }}
{{ range(1, 2, 0) }}
{{ range('a') }}
{{ range(1.5) }}
{{ 1.5|int }} {{ '42'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ '0x1A'|int(0, 16) }} {{ '1A'|int(base=16) }} {{ ' 42 '|int }} {{ '3.9'|int }} {{ -1.9|int }} {{ true|int }} {{ none|int }} {{ none|int(5) }} {{ '1_000'|int }} {{ []|int }} {{ '0b11'|int(0, 2) }} {{ '1e3'|int }}
{{ '1.5'|float }} {{ 'x'|float }} {{ 'x'|float(2.5) }} {{ 3|float }} {{ '1e3'|float }} {{ ' 2 '|float }} {{ none|float }} {{ 'inf'|float }} {{ 'nan'|float }} {{ '-1.5e-7'|float }} {{ true|float }}
{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 42|round }} {{ 42.55|round(1) }} {{ 42.55|round(1, 'floor') }} {{ 42.1|round(0, 'ceil') }} {{ 42|round(method='floor') }} {{ 1234|round(-2) }} {{ 1250|round(-2) }} {{ 1350|round(-2) }} {{ 1234.5|round(-2) }} {{ 2.5|round|int }} {{ -2.5|round }} {{ true|round }}
{{ 'a'|round }}
{{ -5|abs }} {{ -5.5|abs }} {{ 5|abs }} {{ true|abs }}
{{ 'a'|abs }}
{{ ''|default('x') }}|{{ ''|default('x', true) }}|{{ none|default('x') }}|{{ none|default('x', true) }}|{{ missing|d('y') }}|{{ 0|default(5, boolean=true) }}|{{ missing|default }}|{{ d.nothing|default([])|length }}|{{ missing|default(default_value='z') }}
{{ missing.x|default('y') }}
{{ 5|string + 'a' }} {{ none|string }} {{ [1]|string|length }} {{ 1.0|string }} {{ true|string }}
{{ ('<b>'|safe) + '<i>' }} {{ '<i>' + ('<b>'|safe) }} {{ '<i>' ~ ('<b>'|safe) }} {{ ('<b>'|e) + '<' }} {{ ('<b>'|e|e) }} {{ ('<b>'|e|forceescape) }}
{{ ('<b>'|safe).upper() + '<' }} {{ (('<b>'|safe)|upper|trim) + '<' }} {{ ('<b>'|safe)[0] + '<' }} {{ ('<%s>'|safe) % '<' }} {{ ('a{}'|safe).format('<') }} {{ (', '|safe).join(['<', '&'|safe]) }}
{{ ('<b>'|safe).replace('b', '<') + '"' }} {{ (('<b>'|safe)|replace('b', '<')) + '"' }} {{ ('<'|safe) * 2 + '<' }} {{ ('<b>'|safe) is escaped }} {{ '<b>' is escaped }} {{ (('<b>'|safe)|string) + '<' }} {{ ('<b> c'|safe).split()[0] + '<' }}
{{ ({'a': '<'}|tojson|safe) + '<' }} {{ ('<b>'|safe) == '<b>' }} {{ {'<b>': 1}['<b>'|safe] }} {{ ('<'|safe)|length }}
{{ none|selectattr('a')|list }} {{ none|map('upper')|list }} {{ none|select|list|length }} {{ 0|reject|list }} {{ none|map|list }} {{ none|rejectattr('a', 'equalto', 'b')|list|length > 0 }}
{{ '<a href="x">\'&</a>'|escape }} {{ '<b>'|e }} {{ '<b>'|safe }} {{ 5|e }} {{ '<b>'|forceescape }}
{{ 'a<b>c</b> <!-- x -->  d &amp; e'|striptags }} {{ 'x  <br/>\n y'|striptags }}
{{ 'hello world and more'|truncate(11) }} {{ 'hello world'|truncate(5, true) }} {{ 'hello world foo'|truncate(9, end='…') }} {{ 'hello world'|truncate(8, leeway=0) }} {{ 'short'|truncate(3) }} {{ 'hello'|truncate(3, true, '', 0) }} {{ 'abcdefghijk'|truncate(5, leeway=0) }}
{{ 'hello'|truncate(1) }}
{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb'|indent(2, true) }}|{{ 'a\n\nb'|indent(1, blank=true) }}|{{ 'a\nb'|indent('--') }}|{{ 'a\nb\n'|indent(2) }}|{{ ''|indent(2, true) }}|{{ 'a'|indent(first=true) }}
{{ 'the quick brown fox jumps'|wordwrap(10) }}|{{ 'abcdefghij'|wordwrap(4) }}|{{ 'abcdefghij kl'|wordwrap(4, false) }}|{{ 'a b\nc d'|wordwrap(80) }}|{{ 'a b c'|wordwrap(1, wrapstring='/') }}|{{ 'aa bb  cc'|wordwrap(5) }}
{{ words|wordcount }} {{ 'it\'s a-b'|wordcount }} {{ ''|wordcount }}
{{ 'abc'|center(9) }}| {{ 'x'|center(4) }}|
{{ 'a b&c/é?'|urlencode }} {{ {'a b': 'c d', 'x': 1}|urlencode }} {{ [('a', '1/2')]|urlencode }} {{ 5|urlencode }}
{{ {'class': 'a"b', 'id': 5, 'no': none}|xmlattr }}|{{ {'a': '<'}|xmlattr(false) }}|{{ {}|xmlattr }}
{{ 1|filesizeformat }} {{ 999|filesizeformat }} {{ 1000|filesizeformat }} {{ 123456789|filesizeformat }} {{ 123456789|filesizeformat(true) }} {{ 1024|filesizeformat(true) }}
{{ [1, 'a', none]|pprint }} {{ 'x'|pprint }} {{ 5|pprint }}
{{ rows[0]|attr('k') }}|{{ s|attr('upper')() }}|{{ d|attr('get')('b') }}
{{ d|tojson }}
{{ schema|tojson }}
{{ schema|tojson(indent=2) }}
{{ schema|tojson(indent=4) }}
{{ {'b': 1, 'a': {'d': 1, 'c': 2}}|tojson(sort_keys=true) }}
{{ {'a': 'é🦙\u2028'}|tojson(ensure_ascii=true) }}
{{ {'a': 'é🦙'}|tojson }} {{ 'a/b</script>'|tojson }} {{ "'"|tojson }} {{ '\x00\x1f\x7f\b\f\\' |tojson }}
{{ {'a': [1, 2], 'b': {}}|tojson(separators=(',', ':')) }} {{ [1, 2]|tojson(separators=(', ', ': '), indent=1) }}
{{ [1e-05, 1e16, 1.0, 0.1, -0.0, 1e100, 123456789.123, 1e15]|tojson }} {{ [1e308 * 10, -1e308 * 10]|tojson }} {{ f|tojson }}
{{ [true, false, none, 1, 'x', [], {}]|tojson }} {{ []|tojson(indent=2) }} {{ {}|tojson(indent=2) }} {{ [[]]|tojson(indent=2) }} {{ [{}, [1]]|tojson(indent=2) }}
{{ {1: 'a', none: 2, true: 3, 1.5: 4}|tojson }} {{ (1, 2)|tojson }} {{ [1]|tojson(indent='\t') }} {{ [1]|tojson(indent=0) }} {{ [1, 2]|tojson(indent=none) }}
{{ {(1, 2): 3}|tojson }}
{{ range(3)|tojson }}
{{ (l|map('string'))|tojson }}
{{ d.items()|tojson }}
{{ 12345678901234567890123|tojson }} {{ 5|tojson }} {{ none|tojson }} {{ 'é'|tojson(true) }}
{{ 1|tojson(nonsense=1) }}
{% set x = 1 %}{{ x }}{% set x = x + 1 %}{{ x }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, e) = [3, 4] %}{{ c }}{{ e }}
{% set a, b = [1, 2, 3] %}
{% set a, b = 5 %}
{% set x %}a{{ 1 }}b{% endset %}[{{ x }}]
{% set x | upper | trim %} abc {% endset %}[{{ x }}]
{% set x = 0 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }},{% endfor %}{{ x }}
{% set x = 0 %}{% if true %}{% set x = 5 %}{% endif %}{{ x }}
{% if false %}{% set y = 1 %}{% endif %}{{ y is defined }}
{% for i in [1, 2] %}{{ z is defined }}{% set z = i %}{% endfor %}{{ z is defined }}
{% set ns = namespace(x=0, l=[]) %}{% for i in [1, 2, 3] %}{% set ns.x = ns.x + i %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.x }} {{ ns.l }}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}{{ ns['a'] }}
{% set ns = namespace() %}{% set ns.found = false %}{% for m in messages %}{% if m.role == 'assistant' and not ns.found %}{% set ns.found = loop.index0 %}{% endif %}{% endfor %}{{ ns.found }}
{% set d.x = 1 %}
{% set nope.x = 1 %}
{% set ns = namespace(_a=1) %}
{% set ns = namespace(x=1) %}{% set ns.x %}block{% endset %}{{ ns.x }}
{% set true = 1 %}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}
{% set a = 9 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}
{% if 1 %}a{% elif 2 %}b{% else %}c{% endif %}{% if 0 %}a{% elif 2 %}b{% else %}c{% endif %}{% if 0 %}a{% elif 0 %}b{% else %}c{% endif %}
{% if not tools %}no{% endif %}{% if tools is not none %}x{% endif %}{% if messages and messages[0].role == 'user' %}u{% endif %}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}
{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}
{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{{ loop.previtem|default('-') }};{% endfor %}
{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }}{% endfor %}
{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}
{% for x in [1, 2, 3, 4] if x is even %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}none{% endfor %}
{% for x in [1, 3] if x is even %}{{ x }}{% else %}none{% endfor %}
{% for x in [] %}{% else %}empty{% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in [1, 2] %}{% for y in 'ab' %}{{ x }}{{ y }}{{ loop.index }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}{{ loop.index }}{% endfor %}
{% for x in [1, 2] %}{% set outer = loop %}{% for y in 'ab' %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}
{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}<{{ loop(x) }}>{% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}
{% for x in [1] %}{{ loop(x) }}{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}-{{ b }} {% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for c in 'aé🦙' %}[{{ c }}]{% endfor %}
{% for x in l|sort|reverse %}{{ x }}{% endfor %}{% for m in messages[1:] %}{{ m.role }}{% endfor %}
{% for i in range(3) %}{% for j in range(3) %}{% if j == 1 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}
{% for x in [1, 2] %}{% if loop.first %}F{% endif %}{% if not loop.last %},{% endif %}{% endfor %}{{ loop is defined }}
{% for x in messages %}{{ x.role[0] }}{% endfor %}{{ x is defined }}
{% for a in [1], [2] %}{{ a }}{% endfor %}
{% for x in l %}{{ loop }}{% endfor %}
{% break %}
{% macro f(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ f(1) }} {{ f(1, 3) }} {{ f(b=5, a=4) }} {{ f() }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=2) }}
{% macro f(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, x=4) }}
{% macro f() %}[{{ caller() }}]{% endmacro %}{% call f() %}in{{ n }}{% endcall %}
{% macro f(l) %}{% for x in l %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(x, i) f([5, 6]) %}{{ i }}={{ x }};{% endcall %}
{% macro f() %}{% if caller %}{{ caller() }}{% else %}none{% endif %}{% endmacro %}{{ f() }}
{% macro f() %}x{% endmacro %}{% call f() %}y{% endcall %}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}
{% macro f() %}{{ g }}{% endmacro %}{% set g = 5 %}{{ f() }}
{% macro f() %}{% set v = 1 %}{{ v }}{% endmacro %}{{ f() }}{{ v is defined }}
{% macro f(x) %}{{ x|upper }}{% endmacro %}{% set r = f('a') %}{{ r }}{{ r ~ 'b' }}{{ r|length }}{{ f('q') + 'x' }}
{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(1, 2) }}
{% macro f(a=[]) %}{{ a|length }}{% endmacro %}{{ f() }}{{ f([1]) }}
{% macro outer() %}{% macro inner() %}i{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}
{{ undefined_macro(1) }}
{% macro f(x) %}{{ x }}{% endmacro %}{% for i in [1, 2] %}{{ f(i) }}{% endfor %}
{% macro f() %}{{ x }}{% endmacro %}{% for x in [1] %}{{ f() }}|{% endfor %}
{% for x in [1] %}{% macro f() %}{{ x }}{% endmacro %}{{ f() }}{% endfor %}
{% filter upper %}abc{{ n }}{% endfilter %}{% filter trim|replace('a', 'b') %} aa {% endfilter %}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}
{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{{ j() }}c
{% set j = joiner() %}{{ j() }}a{{ j() }}b
{% generation %}abc{% endgeneration %}
a {%- generation -%} b {%- endgeneration %} c
{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}
{% raw %}{% generation %}{{ x }}{% endraw %}
{{ '{% generation %}' }}{{ "{% endgeneration %}" }}
{% generation %}{% set y = 1 %}{{ y }}{% endgeneration %}{{ y is defined }}
{% raw %}{{ a }}{% endraw %}|{%- raw -%}  {{ b }}  {%- endraw -%}|
{% block x %}content{% endblock %}{% block y %}{{ n }}{% endblock y %}
{% print 1 + 1 %}{% print 'a', 'b' %}
{% autoescape false %}<{% endautoescape %}
{# comment #}a{#- c -#} b {#- c #} d
{# {{ not }} {% this %} #}x
{{ raise_exception('no way') }}
{{ raise_exception('a' ~ 1) }}
{% include 'x' %}
{% extends 'x' %}
{% import 'x' as y %}
{% do l.append(1) %}
{% nonsense %}
{% if %}
{% if 1 %}
{% for x in %}
{{ 1 +
{{ }}
{{ (1 }}
{{ 1 2 }}
{% endif %}
{{ 'unterminated }}
{{ a..b }}
{{ 1 is odd is even }}
{{ f(a=1, 2) }}
{{ "}}" }}{{ '%}' }}{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': 1} }}
{{- 'a' -}}  b  {{- 'c' -}}
{{'x'}}{{"y"}}{{1}}
{{ 'a' if 'b' in messages[0] else 'c' }}{{ messages[0].content if messages[0].content is string else '' }}
{{ messages[0]['content'] | trim }}|{{ messages[1].content.split('</think>')[-1].lstrip('\n') }}
{{ messages | map(attribute='content') | map('trim') | join('+') }}
{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | last }}
{{ bos_token + 'x' + eos_token }}{{ unk_token is defined }}{{ (bos_token if add_generation_prompt else '') }}
{{ messages[0].get('tool_calls') }}{{ messages[0].tool_calls is defined }}{{ 'tool_calls' in messages[0] }}{{ messages[0].tool_calls }}
{{ (messages|length) % 2 }} {{ loop is defined }} {{ messages|length - 1 }} {{ (messages|length-1)|string }}
{{ strftime_now('%%') is string }}
{{ lipsum is defined }} {{ cycler is defined }} {{ range is defined }}
{{ s is defined and s is string and s|length > 3 }}
{{ ['a', 'b'][n % 2] }} {{ {'user': 'U'}[messages[0].role] }} {{ {'user': 'U'}.get(messages[1].role, '?') }}
{{ (1, 2) == (1, 2) }} {{ [1, [2, 3]] == [1, [2, 3]] }} {{ 'a' != 'b' }} {{ range(2) == range(2) }} {{ range(2) == [0, 1] }}
{{ 5.is_integer() }}
{{ (5).bit_length() }} {{ 2.0.is_integer() }}
{{ 1 if 1 == 1 and not 2 == 3 or 4 else 5 }}
{{ '' ~ {} ~ [] ~ () ~ 1.50 ~ -0.0 }}
{{ '%s' % (1,) }} {{ '%s-%s' % (1.0, true) }} {{ '%5.1f|' % 2.25 }} {{ '%03d' % -5 }} {{ '%#x' % 255 }}
{{ 'a\
b' }}
{{ "a" | upper | lower | title }} {{ ("a" ~ "b") | upper }} {{ "a" ~ "b" | upper }} {{ -1 | abs }} {{ 1 + 2 | string }}
{{ d['a'][1] }} {{ d.a[-1] }} {{ d['é'] }} {{ d.é }}
{{ [x for x in l] }}
{{ l | map(attribute='x') | list }} {{ [none, 1] | select('none') | list }} {{ l is sameas l }}
{{ 'Hello'|e|upper }} {{ [3, 1]|sort|first }} {{ ' '|trim|length }} {{ 'a,b'.split(',')|length }} {{ 'a,b'.split(',')|map('upper')|join('/') }}
{{ 'x' * 3 ~ 'y' }} {{ '=' * 10 }} {{ n * '-' }} {{ ('a', 'b') * 2 }}
{{ l | length == 3 and l | first == 3 }} {{ l|length > 2 }} {{ not l|length == 2 }}
{{ 9007199254740993 / 1 }} {{ 3 * 1.0 }} {{ 10 // 3.0 }} {{ 2 ** 62 }} {{ 1e3 | int }} {{ 1_000.5 }}
{{ 'İ'.lower()|length }} {{ 'ŉ'.upper() }} {{ 'ǆ'.title() }} {{ 'ΑΣ'.lower() }} {{ 'ﬁ'.upper() }}
{{ '\u00a0x\u2003'.strip() }}|{{ '\u200bx'.strip()|length }}|{{ 'a\u00a0b'.split() }}|{{ 'a\x1cb'.split() }}
{{ '１２'.isdigit() }} {{ '²'.isdigit() }} {{ '²'.isdecimal() }} {{ '½'.isnumeric() }} {{ '½'.isdigit() }} {{ 'ª'.isalpha() }} {{ '一'.isalpha() }} {{ '一'.isnumeric() }}
""".strip("\n").split("\n")

# What cannot stand on one line above.
SNIPPETS = [line for line in SNIPPETS if not line.startswith("b' }}") and not line.endswith("'a\\")] + [
    "{{ 'a\\\nb' }}",
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n  {% if true %}\n    b\n  {% endif %}\nc",
    "  {% set x = 1 %}  \n{{ x }}",
    "  {{ 1 }}  \n  {{ 2 }}\n",
    "a  {%- if true -%}  b  {%- endif -%}  c",
    "a  {%+ if true +%}\n b {%+ endif %}\n c",
    "  {%+ if true %}\n  x{% endif %}",
    "a {% if true +%}\nb{% endif +%}\nc",
    "{%- for m in messages -%}\n    {{- m.role -}}\n{%- endfor -%}\n\nend\n\n",
    "x\n\n",
    "x\n",
    "\n\nx",
    "\r\na\r\n{% if true %}\r\nb\r\n{% endif %}\r\nc\r\n",
    "a\rb{% if 1 %}\rc{% endif %}",
    "{% set x %}a\r\nb{% endset %}{{ x|length }}{{ 'c\r\nd'|length }}{{ 'e\\r\\nf'|length }}",
    "{{ 'a\nb' }}",
    "{{ 'a\r\nb' | tojson }}",
    "  {# comment #}\nb",
    "  {# comment #}  \nb",
    "a {#- comment -#}\n b",
    "a\n{# one #}\n{# two #}\nb",
    "{#\n multi\n line\n#}\nx",
    "{% raw %}\n  {{ x }}\n{% endraw %}\ny",
    "  {% raw %}\n  a\n  {% endraw %}\n  b",
    "{%- raw %} a {% endraw -%} b",
    "a\n  {%- raw -%}\n  b\n  {%- endraw -%}\n  c",
    "a\t{% if 1 %}\tb\t{% endif %}\tc",
    "x {% if 1 %}\n  y\n{% endif %} z",
    "{{ 1 }}\n{{ 2 }}",
    "{{ 1 -}}\n{{ 2 }}",
    "{{ 1 }}\n{{- 2 }}",
    "{{-1}}{{- 1 }}{{ -1 }}",
    "{% if 1 %}{% endif %}\n\nx",
    "{% for i in [1,2] %}\n{{ i }}\n{% endfor %}\n",
    "{% for i in [1,2] -%}\n  {{ i }}\n{%- endfor %}\n",
    "{%\n  set x = [\n    1,\n    2\n  ]\n%}{{ x }}",
    "{{\n  {\n 'a': 1\n }\n}}",
    "{%- set x = 'a' -%}\n\n  {{- x -}}  \n\n{%- set y = 'b' %}\n{{ y }}",
    "é {% if 'é' == 'é' %}🦙\n{% endif %}{{ '🦙'|length }}",
    "{% macro f(x) -%}\n  [{{ x }}]\n{%- endmacro %}\n{{ f(1) }}\n{{ f(2) }}",
    "{% call(x) m() %}{% endcall %}",
    "{% macro f() %}\n  {{ caller() }}\n{% endmacro %}\n{% call f() %}\n  body\n{% endcall %}\n",
    "a {{ '{{' }} b {% raw %}}}{% endraw %}",
    "{ { x } } {a} {%raw%}{%{%endraw%} # %} }}",
    "#}{{ 1 }}%}",
    "{{ 1 }}{",
    "{",
    "",
    "{{ x",
    "{% x",
    "{# x",
    "{% raw %} x",
    "{% if 1 %}\n\n\n{% endif %}x",
    "\ufeff{{ 1 }}",
    "{{ [\n1,\n\n2] }}\n\n{% if 1 -%}\n\n a {%- endif %}\n",
    "{% set x -%}  a  {%- endset %}[{{ x }}]",
    "{%- if 1 %}\n\n{%- endif -%}\n\nq",
    "{% for x in 'ab' %}{{ x }}{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}",
    "{{ \"a\\n\" }}\n{{ 'b' }}",
    "a{{ '' }}\n{% if 0 %}\nx\n{% else %}\ny\n{% endif %}\nz",
    "  {% if 1 %} x {% endif %}  \n",
    "a\n \t {% set z = 1 %}\n \t b",
    "a\n\x0b{% set z = 1 %}\nb",
]

CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 2}}}
TOOLS = [VARIABLES["schema"]]
TALKS = [
    {"messages": [{"role": "user", "content": "Hi"}]},
    {"messages": [{"role": "user", "content": " Hi\n"}], "add_generation_prompt": False},
    {"messages": [{"role": "system", "content": "Be brief. "}, {"role": "user", "content": "Hi"}]},
    {"messages": VARIABLES["messages"]},
    {"messages": [{"role": "user", "content": "Weather?"}], "tools": TOOLS},
    {
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "name": "get_weather", "content": '{"t": 1.5e-05}'},
            {"role": "tool", "name": "get_weather", "content": "rain"},
            {"role": "assistant", "content": "Rain."},
            {"role": "user", "content": "Thanks"},
        ],
        "tools": TOOLS,
    },
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image"}]}]},
    {"messages": [{"role": "assistant", "content": "First"}, {"role": "user", "content": "x"}]},
    {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
    {"messages": [], "enable_thinking": False},
    {
        "messages": [
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": "A", "reasoning_content": "think\n"},
            {"role": "user", "content": "R"},
        ],
        "enable_thinking": False,
        "date_string": "1 Jan 2026",
    },
]

# Idioms of the templates of the families, written anew.
FAMILIES = [
    # Blocks of tools in a system turn, thoughts that only the last answers keep.
    """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages and messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<tool_call>\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
""",
    # Tools as XML by a macro over their parameters.
    """{% macro render_extra_keys(json_dict, handled_keys) %}
    {%- if json_dict is mapping %}
        {%- for json_key in json_dict if json_key not in handled_keys %}
            {%- if json_dict[json_key] is mapping or (json_dict[json_key] is sequence and json_dict[json_key] is not string) %}
                {{- '\\n<' ~ json_key ~ '>' ~ (json_dict[json_key] | tojson | safe) ~ '</' ~ json_key ~ '>' }}
            {%- else %}
                {{-'\\n<' ~ json_key ~ '>' ~ (json_dict[json_key] | string) ~ '</' ~ json_key ~ '>' }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
{% endmacro %}
{%- if messages and messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = [] %}{%- endif %}
{%- if system_message is defined %}
    {{- "<|im_start|>system\\n" + system_message }}
{%- elif tools is iterable and tools | length > 0 %}
    {{- "<|im_start|>system\\nYou are a helper." }}
{%- endif %}
{%- if tools is iterable and tools | length > 0 %}
    {{- "\\n<tools>" }}
    {%- for tool in tools %}
        {%- if tool.function is defined %}{%- set tool = tool.function %}{%- endif %}
        {{- "\\n<function>\\n<name>" ~ tool.name ~ "</name>" }}
        {%- if tool.description is defined %}{{- '\\n<description>' ~ (tool.description | trim) ~ '</description>' }}{%- endif %}
        {{- '\\n<parameters>' }}
        {%- for param_name, param_fields in tool.parameters.properties|items %}
            {{- '\\n<parameter>\\n<name>' ~ param_name ~ '</name>' }}
            {{- render_extra_keys(param_fields, ['name', 'description']) }}
            {{- '\\n</parameter>' }}
        {%- endfor %}
        {{- render_extra_keys(tool.parameters, ['type', 'properties']) }}
        {{- '\\n</parameters>\\n</function>' }}
    {%- endfor %}
    {{- "\\n</tools>" }}
{%- endif %}
{%- if system_message is defined or (tools is iterable and tools | length > 0) %}{{- '<|im_end|>\\n' }}{%- endif %}
{%- for message in loop_messages %}
    {%- if message.role == "assistant" and message.tool_calls is defined and message.tool_calls is iterable and message.tool_calls | length > 0 %}
        {{- '<|im_start|>' + message.role }}
        {%- for tool_call in message.tool_calls %}
            {%- set tool_call = tool_call.function %}
            {{- '\\n<tool_call>\\n<function=' + tool_call.name + '>\\n' }}
            {%- for args_name, args_value in tool_call.arguments|items %}
                {{- '<parameter=' + args_name + '>\\n' }}
                {%- set args_value = args_value | tojson | safe if args_value is mapping or (args_value is sequence and args_value is not string) else args_value | string %}
                {{- args_value }}{{- '\\n</parameter>\\n' }}
            {%- endfor %}
        {%- endfor %}
    {%- elif message.role == "tool" %}
        {%- if loop.previtem and loop.previtem.role != "tool" %}{{- '<|im_start|>user\\n' }}{%- endif %}
        {{- message.content }}
        {%- if not loop.last and loop.nextitem.role != "tool" %}{{- '<|im_end|>\\n' }}{%- elif loop.last %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}""",
    # A dated system turn, tools in the first user turn.
    """{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not tools_in_user_message is defined %}{%- set tools_in_user_message = true %}{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}{%- set date_string = "26 Jul 2024" %}{%- else %}{%- set date_string = "x" %}{%- endif %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages and messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
    {%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("This model only supports single tool-calls at once!") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}{{- '"parameters": ' }}{{- tool_call.arguments | tojson }}{{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
""",
    # Turns that must alternate, parts of contents, the system text in the first user turn.
    """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}{%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}{%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}{%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}{%- set role = "model" -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{'<start_of_turn>model\\n'}}{%- endif -%}
""",
    # Instructions in brackets, tools before the last user turn, ids of calls checked.
    """{%- if messages[0]["role"] == "system" %}{%- set system_message = messages[0]["content"] %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- elif tools is not none %}{%- set parallel_tool_prompt = "Several calls." %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}{{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}{{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}{{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}{%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}{{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}{%- set content = message.content.content %}{%- else %}{%- set content = message.content %}{%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + "}[/TOOL_RESULTS]" }}
    {%- else %}{{- raise_exception("Only user and assistant roles are supported!") }}{%- endif %}
{%- endfor %}
""",
    # Everything in one line, flags in a namespace.
    """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['tool_calls'] %}{%- set ns.is_tool = false -%}{%- for tool in message['tool_calls']%}{%- if not ns.is_first %}{{'<｜Assistant｜><｜tool▁calls▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name'] + '\\n' + '```json' + '\\n' + (tool['function']['arguments']|tojson) + '\\n' + '```'}}{%- set ns.is_first = true -%}{%- endif %}{%- endfor %}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none and not message['tool_calls'] %}{%- if ns.is_tool %}{{'<｜tool▁outputs▁end｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{'<｜tool▁outputs▁begin｜>' + message['content']}}{%- set ns.is_output_first = false %}{%- else %}{{'\\n' + message['content']}}{%- endif %}{%- endif %}{%- endfor -%}{% if ns.is_tool %}{{'<｜tool▁outputs▁end｜>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜><think>\\n'}}{% endif %}""",
    # Types of parameters as TypeScript, by recursive macros.
    """{%- macro render_type(spec, required_params, is_nullable=false) -%}
    {%- if spec.type == "array" -%}
        {%- if spec['items'] -%}{{- render_type(spec['items'], required_params) + "[]" -}}{%- else -%}{{- "any[]" }}{%- endif -%}
    {%- elif spec.type is defined and spec.type is iterable and spec.type is not string and spec.type is not mapping and spec.type[0] is defined -%}
        {{- spec.type | join(" | ") }}
    {%- elif spec.enum -%}{{- '"' + spec.enum|join('" | "') + '"' -}}
    {%- elif spec.type == "string" -%}string{%- if is_nullable %} | null{%- endif -%}
    {%- elif spec.type in ["number", "integer"] -%}{{- "number" }}
    {%- elif spec.type == "object" and spec.properties -%}
        {{- "{\\n" }}
        {%- for prop_name, prop_spec in spec.properties.items() -%}
            {{- prop_name -}}{%- if prop_name not in (spec.required or []) -%}{{- "?" }}{%- endif -%}
            {{- ": " }}{{ render_type(prop_spec, spec.required or []) }}{%- if not loop.last -%}{{-", " }}{%- endif -%}
        {%- endfor -%}
        {{- "}" }}
    {%- else -%}{{- "any" }}{%- endif -%}
{%- endmacro -%}
{%- macro render_tool_namespace(name, tools) -%}
    {{- "## " + name + "\\n\\nnamespace " + name + " {\\n\\n" }}
    {%- for tool in tools %}
        {%- set tool = tool.function %}
        {{- "// " + tool.description + "\\ntype "+ tool.name + " = " }}
        {%- if tool.parameters and tool.parameters.properties %}{{- "(_: " + render_type(tool.parameters, []) + ") => any;\\n\\n" }}{%- else %}{{- "() => any;\\n\\n" }}{%- endif %}
    {%- endfor %}
    {{- "} // namespace " + name }}
{%- endmacro -%}
{%- set developer_message = messages[0].content if messages and messages[0].role in ["developer", "system"] else "" %}
{%- if developer_message or tools %}
    {{- "<|start|>developer<|message|>" }}{{- developer_message }}
    {%- if tools -%}{{- "\\n\\n# Tools\\n\\n" }}{{- render_tool_namespace("functions", tools) }}{%- endif -%}
    {{- "<|end|>" }}
{%- endif %}
{%- set last_tool_call = namespace(name=none) %}
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {%- if "<|channel|>analysis<|message|>" in (message.content or '') %}{{- raise_exception("bad channel") }}{%- endif %}
        {%- if "tool_calls" in message %}
            {%- set tool_call = message.tool_calls[0] %}
            {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- "<|start|>assistant to=" }}{{- "functions." + tool_call.name + "<|channel|>commentary " }}
            {{- (tool_call.content_type if tool_call.content_type is defined else "json") + "<|message|>" }}{{- tool_call.arguments|tojson }}{{- "<|call|>" }}
            {%- set last_tool_call.name = tool_call.name %}
        {%- elif loop.last and not add_generation_prompt %}{{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|return|>" }}
        {%- else %}{{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|end|>" }}{%- set last_tool_call.name = none %}{%- endif %}
    {%- elif message.role == 'tool' -%}
        {%- if last_tool_call.name is none %}{{- raise_exception("Message has tool role, but there was no previous assistant message with a tool call!") }}{%- endif %}
        {{- "<|start|>functions." + last_tool_call.name }}{{- " to=assistant<|channel|>commentary<|message|>" + message.content|tojson + "<|end|>" }}
    {%- elif message.role == 'user' -%}{{- "<|start|>user<|message|>" ~ message.content ~ "<|end|>" }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}
""",
    # Macros over visible text, counting of turns, tags for what is learned.
    """[gMASK]<sop>
{%- if tools -%}
<|system|>
# Tools
{% for tool in tools %}
{{ tool | tojson(ensure_ascii=False) }}
{% endfor %}
{%- endif -%}
{%- macro visible_text(content) -%}
    {%- if content is string -%}
        {{- content }}
    {%- elif content is iterable and content is not mapping -%}
        {%- for item in content -%}
            {%- if item is mapping and item.type == 'text' -%}{{- item.text }}{%- elif item is string -%}{{- item }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{- content }}
    {%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(last_user_index=-1) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {% set ns.last_user_index = loop.index0 -%}
    {%- endif %}
{%- endfor %}
{% for m in messages %}
{%- if m.role == 'user' -%}<|user|>
{{ visible_text(m.content) }}
{{- '/nothink' if (enable_thinking is defined and not enable_thinking and not visible_text(m.content).endswith("/nothink")) else '' -}}
{%- elif m.role == 'assistant' -%}
<|assistant|>
{%- set content = visible_text(m.content) %}
{%- if content.strip() -%}
{% generation %}{{ '\\n' + content.strip() }}{% endgeneration %}
{%- endif -%}
{% if m.tool_calls %}
{% for tc in m.tool_calls %}
{%- if tc.function %}
    {%- set tc = tc.function %}
{%- endif %}
{{ '\\n<tool_call>' + tc.name }}
{% set _args = tc.arguments %}
{% for k, v in _args.items() %}
<arg_key>{{ k }}</arg_key>
<arg_value>{{ v | tojson(ensure_ascii=False) if v is not string else v }}</arg_value>
{% endfor %}
</tool_call>{% endfor %}
{% endif %}
{%- elif m.role == 'tool' -%}
{%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
    {{- '<|observation|>' }}
{%- endif %}
{{- '\\n<tool_response>\\n' }}{{- m.content }}{{- '\\n</tool_response>' }}
{%- else -%}
<|{{ m.role }}|>
{{ visible_text(m.content) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    <|assistant|>{{- '\\n<think></think>' if (enable_thinking is defined and not enable_thinking) else '' -}}
{%- endif -%}
""",
    # Plain blocks with line breaks that trim_blocks takes.
    """{% for message in messages %}
{% if loop.first and messages[0]['role'] != 'system' %}
<|system|>
You are helpful.<|end|>
{% endif %}
{% if message['role'] in ['user', 'system'] and message['content'] %}
<|{{ message['role'] }}|>
{{ message['content'] }}<|end|>
{% elif message['role'] == 'assistant' %}
<|assistant|>
{{ message['content'] }}<|end|>
  {# nothing else #}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
<|assistant|>
{% else %}
{{ eos_token }}
{% endif %}
""",
    # Documents and preambles, filters in blocks, dates.
    """{{ bos_token }}{% if documents is defined and documents %}
{% for document in documents %}Document: {{ loop.index0 }}
{% for key, value in document.items() %}{{ key }}: {{ value }}
{% endfor %}{% endfor %}{% else %}no documents{% endif %}
{%- set preamble %}
{%- if messages and messages[0].role == 'system' %}{{ messages[0].content }}{% else %}## Task
Answer.{% endif %}
{%- endset %}
<|START|>{{ preamble | trim }}<|END|>
{%- for role, group in messages | groupby('role') %}

{{ role | upper }}: {{ group | length }}{% endfor %}
{% filter indent(2) %}
{% for m in messages if m.content is string %}
{{ loop.index ~ '. ' ~ m.role | capitalize }}: {{ m.content | trim | truncate(12) | replace('\\n', ' ') }}
{% endfor %}
{% endfilter %}
{{ messages | map(attribute='role') | unique | join(', ') }} {{ '%d messages' | format(messages | length) }}
{{ dict(role='x', n=messages|length) | tojson }} {{ messages | map(attribute='content') | select('string') | map('length') | sum }}
""",
]

CONVERSATIONS = [(family, TALKS) for family in FAMILIES]
