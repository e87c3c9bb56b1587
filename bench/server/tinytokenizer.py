"""The tiny model's tokenizer: byte-level BPE in which every word of `WORDS`, with its leading space, is one token.

Strategy: a merge exists for every prefix of every " word", each one letter longer than the last. Every merge thus
starts at the space, so at any moment at most one applies: merge ranks cannot matter, llama.cpp and Hugging Face
cannot disagree, and a word costs one token whatever stands next to it. Everything else falls apart into bytes.
"""

from typing import Any, NamedTuple

END = "<|end|>"
SPECIALS = (END, "<|system|>", "<|user|>", "<|assistant|>")

# A message costs its words plus two tokens. The trim lets an answer, which starts with a space, come back as history
# token for token, so that a server's prefix cache sees the conversation it has already computed.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|> ' + (message['content'] | trim) + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

_WORD_LIST = """
a able about above accept across act action active actual add after again age ago agree air all allow almost alone along
also always am among amount an and animal answer any appear apple area around arrive art as ask at away baby back bad
bag ball bank base basic be bear beat beauty became become bed been before began begin behind being below best better
beyond big bird bit black block blue board boat body bone book born both bottom box boy branch bread break bridge bright
bring brown build built burn bus busy but buy by call came camp can car card care carry case cat catch caught cause cell
center chair chance change charge cheap check child choice choose church circle city claim class clean clear climb clock
close cloth cloud coast coat cold color come common cook cool copy corn corner cost could count course court cover
create crop cross crowd cry cup cut dance danger dark data date day dead deal dear death decide deep degree demand
depend design desk did die differ dinner direct do doctor does dog dollar done door double down draw dream dress drink
drive drop dry during each ear early earth ease east easy eat edge effect egg eight either else end energy engine enough
enter equal even event ever every exact except expect eye face fact fair fall family famous far farm fast fat father
favor fear feed feel feet fell felt few field fight figure fill final find fine finger finish fire first fish fit five
flat floor flow flower fly follow food foot for force forest form found four free fresh friend from front fruit full fun
game garden gas gather gave gentle get girl give glad glass go gold gone good got govern grand grass gray great green
grew ground group grow guess guide had hair half hall hand happen happy hard has hat have he head hear heart heat heavy
held help her here high hill him his hit hold hole home hope horse hot hour house how huge human hunt hurry ice idea if
in inch indeed inside into iron is island issue it its job join joy judge jump just keep kept key kind king knew know
lady lake land large last late laugh law lay lead learn least leave led left leg length less let letter level lie life
lift light like line list listen little live local long look lost lot loud love low made main major make man many map
mark market master match matter may me mean meat meet member men method middle might mile milk mind mine minute miss
modern moment money month moon more most mother motion mount mouth move much music must my name nation nature near neck
need never new next night nine no noise none nor north nose not note notice now number object ocean of off offer office
often oil old on once one only open or orange order other our out over own page paint pair paper parent part party pass
past path pay people period person piece place plain plan plane plant play please point poor port power press pretty
price print proper prove public pull push put quart quick quiet quite race radio rain raise ran range rate rather reach
read ready real reason record red region repeat report rest result return rich ride right ring rise river road rock room
root rope rose round row rule run safe said sail salt same sand sat save saw say scale school sea search season seat
second see seed seem seen sell send sense sent serve set settle seven shall shape share sharp she ship shoe shop short
should show side sight sign silent silver simple since sing single sister sit six size skill skin sky sleep slow small
smell smile snow so soft soil some son song soon sound south space speak speed spell spend spoke spot spread spring
square stand star start state stay steam steel step stick still stone stood stop store story stream street strong study
such sudden sugar suit summer sun supply sure swim system table tail take talk tall teach team tell ten term test than
thank that the their them then there these they thick thin thing think third this those though three time tiny to today
told tone too took tool top total touch toward town track trade train travel tree trip truck true try tube turn twenty
two type under unit until up us use usual valley value vary very view visit voice wait walk wall want warm was wash
watch water wave way we wear week weight well went were west what wheel when where which while white who whole why wide
wife wild will win wind window wing winter wire wish with woman wonder wood word work world would write wrong yard year
yellow yes yet you young your
"""
WORDS = tuple(_WORD_LIST.split())


class TinyVocabulary(NamedTuple):
    """Token texts in id order (the special tokens are the last ones), merges in rank order, and the ids of words."""

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    word_ids: tuple[int, ...]

    def special_id(self, text: str) -> int:
        return self.tokens.index(text)


def vocabulary() -> TinyVocabulary:
    """The 256 bytes, every prefix of every " word", then `SPECIALS`."""
    letters = _byte_letters()
    space = letters[ord(" ")]
    prefixes = sorted({word[:end] for word in WORDS for end in range(1, len(word) + 1)}, key=lambda p: (len(p), p))
    tokens = (*letters, *(space + prefix for prefix in prefixes), *SPECIALS)
    merges = tuple((space + prefix[:-1], prefix[-1]) for prefix in prefixes)
    words = {space + word for word in WORDS}
    return TinyVocabulary(tokens, merges, tuple(i for i, token in enumerate(tokens) if token in words))


def tokenizer_json(vocab: TinyVocabulary) -> dict[str, Any]:
    """The contents of Hugging Face's `tokenizer.json`; GPT-2's pre-tokenizer, and nothing added to any text."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": vocab.special_id(text), "content": text, **special} for text in SPECIALS],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(vocab.tokens)},
            "merges": [f"{left} {right}" for left, right in vocab.merges],
        },
    }


def _byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each byte: itself where printable, else the next free letter from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]
