"""The conversations that the tests of the page share."""

from tests.support.corpora import SMALL, conversation

LONG = conversation("long", *((("human", "gpt")[n % 2], f"message {n}") for n in range(130)))
STORY = " ".join(f"word{n}" for n in range(120))
SCRIPT = "<script>document.title = 'run'; alert(1)</script><img src=x onerror=alert(2)><b>bold</b>"
BIDI = "\u202eevil\u2066 \u200f\u0007"
ENDLESS = "x" * 1_000_000
HOSTILE = [
    conversation(f"{SCRIPT}#{number}", (f"human{SCRIPT}", SCRIPT), ("human", SCRIPT), ("gpt", f"{SCRIPT} {BIDI}"))
    for number in range(3)
]
MARKDOWN = """# Plan

Some **bold** text, *emphasis*, ~~old~~ and `code` in a line
with a second line. A [link](https://example.com/a?b=c) and ![picture](https://example.com/x.png).

1. First
2. Second
   - nested **one**
   - nested two

     with a paragraph

| Name | Value |
|:-----|------:|
| a    | 1     |
| `b`  | **2** |

```python
def f(x):
    return x + 1
```

> A quotation
> of two lines

---

Done.
"""
STREAMED = f"""{MARKDOWN}
Here are *some* things:
- one **two** three
- [Your name]
- [link](https://example.com "title") after
1. `code` and ``a`b``
2. **bold *both* end** __under__ snake_case_name 2 * 3 * 4
   ```js
   let x = `a`;
   ```
3. done

### Heading `x`
Text & more &amp; AT&T <b>html</b> <https://example.com> ~~gone~~ ~ 5 \\* no

> quote **bold**
> - list in quote

| a | b |
|---|---|
| **x** | `y z` |
| 3 |

***

~~~
tilde
~~~
a
---
b 1. c
2024 was a year.
See [this] and ![picture](https://example.com/i.png)!

* star item
* **Title:** text

+ plus

      indented

*all emphasised over
two lines*. *You learn: `if` and `for`.* 2x**(x - 1)** and "**quoted** *text*".

**Title**
1. **First:** one

**Tasks**
- [ ] open
- [x] done

**a**b**c** ***both*** *a **b***
"""
HOSTILE_MARKDOWN = """<script>document.title = 'run'; alert(1)</script>

<img src=x onerror="alert(2)"> <svg onload=alert(3)><a xlink:href="javascript:alert(4)">x</a></svg>

<math><mi xlink:href="data:text/html,<script>alert(5)</script>">x</mi></math>
<style>* { display: none }</style><form action="https://evil.example"><input name=a></form>
<iframe src="https://evil.example"></iframe><base href="https://evil.example">
<meta http-equiv="refresh" content="0;url=https://evil.example"><!-- <b>x</b> -->

[a](javascript:alert(6)) [b](data:text/html,x) [c](vbscript:x) [d](file:///etc/passwd) [e](/schema) [f](//evil.example)
[g](JaVaScRiPt&#58;alert(7)) [h]( javascript:alert(8)) [i](https:evil) [j][k] <javascript:alert(9)>
[ok](https://example.com/ "x' onmouseover='alert(10)") <a@example.com> ![i](https://evil.example/x.png)
![j](javascript:x)

[k]: javascript:alert(11)

``` "><img src=x onerror=alert(12)> style=x
</code></pre><script>alert(13)</script>
```

| <b onclick=alert(14)>a</b> | {: onclick=alert(15)} |
|:--|--:|
| &#60;script&#62;alert(16)&#60;/script&#62; | `<script>` |
"""
ARABIC = "1. مرحبا **بك** هنا\n2. أولا\n\nEnglish too.\n\n```\nx = 1\n```\n"
MEGABYTE = (f"- **a** `b` <b>c</b> [d](https://example.com) {'x' * 950}\n\n" * 1100)[:1_000_000]
QUOTES = 'it\'s "quoted" $(touch pwned) `touch pwned` \\n \\ !! %s {x} \U0001f642 \u202eevil\u2066\nEND\n\'\'\'\n"""\n#'
REPLY = f"{QUOTES[::-1]}\nEND\n$HOME 'END' \u00a0\u200b\u2028 \U0001f642"
DUMP = [
    *SMALL,
    LONG,
    conversation("story", ("human", "tell me a story"), ("gpt", STORY), ("human", "and then?"), ("gpt", "The end.")),
    conversation("endless", ("human", "endless"), ("gpt", ENDLESS), ("human", BIDI), ("gpt", BIDI)),
    conversation(
        "tools",
        ("human", "is it raining in Oslo"),
        ("function_call", '{"name": "get_weather", "arguments": {"location": "Oslo"}}'),
        ("observation", '{"rain": true}'),
        ("gpt", "It rains."),
    ),
    *(conversation(f"unseen_{number}", ("human", "\u200b"), ("gpt", "\u200b")) for number in range(2)),
    *HOSTILE,
    conversation("markdown", ("human", "show me markdown"), ("gpt", MARKDOWN)),
    conversation("hostile", ("human", "be hostile"), ("gpt", HOSTILE_MARKDOWN)),
    conversation("megabyte", ("human", "a megabyte of markdown"), ("gpt", MEGABYTE)),
    conversation("json", ("human", "json please"), ("gpt", '{"a": [1.50,12345678901234567890, {}], "b" : "x\\n{y}"}')),
    conversation("arabic", ("human", "arabic please"), ("gpt", ARABIC)),
    conversation("quotes", ("human", QUOTES), ("gpt", REPLY)),
]
