"""Chinese pages: the code is that of their English pages, which run; the words are those of one glossary."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from rxpipe.devtools.fake_llm import serving

from .pages import DOCS, ROOT, Page

CHINESE = DOCS / "zh"
README = ROOT / "README.zh.md"
PAGES = sorted(CHINESE.glob("*/*.md"))
DOCUMENTS = [README, *sorted(CHINESE.glob("*.md")), *PAGES]
# A block with its language, and what readers do not see, in the order of the page; pictures have no language.
_PARTS = re.compile(r"^```(\w+)\n(.*?)^```$|<!--(.*?)-->", re.DOTALL | re.MULTILINE)
_REMARK = re.compile(r"(?:^|(?<=\s))(?:#(?! file:)|--)\s.*$", re.MULTILINE)  # -- is that of SQL
_CJK = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+")
# A block that the English page does not have: a mark, further marks, the block.
_OWN = re.compile(r"^<!-- only in Chinese -->\n((?:<!--[^\n]*-->\n)*```.*?^```$)", re.DOTALL | re.MULTILINE)
OWN = [page for page in PAGES if _OWN.search(page.read_text("utf-8"))]
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")

# Words that the glossary has another one for. README.zh.md and all pages are searched, but for their code.
DISCARDED = {
    "汇(?!总)": "输出端",
    "结局": "结果, 结束状态",
    "槽位|(?<!并发)槽": "并发槽",
    "速率限制|限速": "限流, 限额",
    "代理": "消息中间件",
    "提供方|(?<!模型)服务商": "模型服务商",
    "模拟服务|模拟模型|假服务器|(?<!真)假模型(?!服务)": "假模型服务",
    "持久运行|持久化的运行": "持久化运行",
    "接着(?:运行|做)|(?<!断点)续跑": "断点续跑",
    "途中的|在途|在路上": "处理中",
    "杀掉|杀死|杀过": "强制终止",
    "检出": "源码目录",
    "回溯": "traceback",
    "工作进程": "worker, 常驻 worker, 池进程",
    "算子": "操作符",
    "形状": "流水线结构",
    "填充题库": "批量生成题库",
    "解答|答题|判题": "作答, 评分",
    "重来": "重试, 重新入队",
    "重新排队": "重新入队",
    "评过分": "已评分",
    r"(?<!（)(?<!\| )\bextra\b": "可选依赖",
    "不声不响|说说|按[^，。]*所说": "a plain word",
}


def english(page: Path) -> Path:
    """The page that a Chinese one is made of."""
    return DOCS / page.relative_to(CHINESE)


def parts(text: str) -> list[tuple[str, str]]:
    """What tests would run of the English page: languages and code without remarks, and invisible marks."""
    return [
        (language, "\n".join(line.rstrip() for line in _CJK.sub("", _REMARK.sub("", code)).splitlines()) or mark)
        for language, code, mark in _PARTS.findall(_OWN.sub("", text))
    ]


def prose(text: str) -> str:
    """All but code and where links lead; pictures of characters are prose."""
    text = re.sub(r"^```\w+\n.*?^```$|<!--.*?-->|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"\]\([^)]*\)", "]", text)


def heading(page: Path, anchor: str = "") -> str:
    """What a page is called, or its section of that anchor."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = [str(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return next(title for title in titles if not anchor or title.lower().replace(" ", "-") == anchor)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHINESE).as_posix())
def test_a_chinese_page_has_the_code_of_its_english_page(page: Path) -> None:
    """All of it, in the same order, with the same marks; and a link to the English page stands above."""
    text = page.read_text("utf-8")
    assert parts(text) == parts(english(page).read_text("utf-8"))
    link = f"[English](../../{english(page).relative_to(DOCS).as_posix()})"
    assert link in text.splitlines()[:3], f"no line {link} at the beginning"


@pytest.mark.parametrize("folder", ["tutorial", "how-to", "production"])
def test_an_english_page_leads_to_its_chinese_page(folder: str) -> None:
    """It has one, and begins with the link."""
    for page in sorted((DOCS / folder).glob("*.md")):
        assert page.read_text("utf-8").startswith(f"[中文](../zh/{folder}/{page.name})\n"), page


def test_remarks_may_be_translated_and_code_may_not() -> None:
    """What the comparison lets pass, and what it does not."""
    page = "<!-- output -->\n```python\n# file: one.py\ncall(1)  # seconds\n```\n```sql\n-- seconds\nSELECT 2;\n```\n"
    assert parts(page) == parts(page.replace("seconds", "秒"))
    own = "<!-- only in Chinese -->\n<!-- file: a.csv -->\n```csv\nid\n```\n"
    assert parts(page) == parts(own + page)
    assert parts(page) != parts(own.replace("only", "also") + page)
    for other in ("one.py", "call(1)", "output", "python", "SELECT 2"):
        assert parts(page) != parts(page.replace(other, "two")), other


@pytest.mark.slow
@pytest.mark.parametrize("page", OWN, ids=lambda page: page.relative_to(CHINESE).as_posix())
def test_blocks_that_only_a_chinese_page_has_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, with the fake server that the page starts; what they print is in Chinese."""
    monkeypatch.chdir(tmp_path)
    with serving() as server:
        blocks = "\n\n".join(_OWN.findall(page.read_text("utf-8"))).replace("http://127.0.0.1:8399/v1", server.url)
        (tmp_path / "page.md").write_text(blocks, encoding="utf-8")
        run = Page(tmp_path / "page.md", monkeypatch)
        run.run()
    assert all(len(_CJK.findall(line)) > 1 for line in run.printed.splitlines() or [""]), run.printed


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_one_word_for_each_term(page: Path) -> None:
    """That of the glossary in docs/zh/index.md."""
    text = prose(page.read_text("utf-8"))
    found = {word[0]: better for words, better in DISCARDED.items() for word in re.finditer(words, text)}
    assert found == {}, "words that the glossary has others for"


def test_words_of_the_glossary_are_used() -> None:
    """Each of them, on some page besides the glossary's."""
    table = (CHINESE / "index.md").read_text("utf-8").partition("## 术语表")[2]
    terms = {
        term
        for _, cell, _ in re.findall(r"^\| ([\w, -]+) \| ([^|]+) \|(.*)$", table, re.MULTILINE)
        for term in re.sub(r"（.*?）", "", cell).strip().split("、")
    } - {"中文"}
    assert len(terms) > 30
    text = "\n".join(prose(page.read_text("utf-8")) for page in (README, *PAGES))
    assert sorted(term for term in terms if term not in text) == []


def test_one_title_for_each_page() -> None:
    """In all links to it; to a Chinese page it is the page's own title, or its section's, and so in the navigation."""
    titles: dict[tuple[Path, str], set[str]] = defaultdict(set)
    for page in DOCUMENTS:
        for title, target in _LINK.findall(page.read_text("utf-8")):
            if "://" not in target and ".md" in target and title not in ("English", "中文"):
                file, _, anchor = target.partition("#")
                titles[(page.parent / file).resolve(), anchor].add(title.removesuffix("（英文）"))
    assert {target: several for target, several in titles.items() if len(several) > 1} == {}
    for (file, anchor), (title,) in titles.items():
        if file.is_relative_to(CHINESE):
            assert title in (heading(file, anchor), heading(file, anchor).removeprefix("rxpipe "))
    navigation = (ROOT / "zensical.toml").read_text("utf-8")
    for title, file in re.findall(r'\{ "(.*?)" = "(zh/.*?)" \}', navigation):
        assert file == "zh/index.md" or title == heading(DOCS / file).replace(". ", " ", 1)
