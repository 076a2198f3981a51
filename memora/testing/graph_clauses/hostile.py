"""Texts and names that stores have stumbled over."""

NAMES = (
    "Ke$ha",
    "A$AP Rocky",
    "O'Brien",
    "Robert'); DROP TABLE user;--",
    "}) DETACH DELETE n //",
    "back`tick",
    "Null",
    "$param {0} %s",
    "trailing\\",
    "agent_007",
    "名前 🎉 Ünïcödé",
    "\u202eright to left",
    "e\u0301 is one letter after NFC",
)

TEXTS = (
    *NAMES,
    "",
    " \t\r\n ",
    "nul \x00 inside",
    "\x00",
    "bell \x07, escape \x1b, vertical tab \x0b",
    "line\u2028paragraph\u2029separators",
    "\ufeffbyte order mark",
    "non-character \ufffe",
    "astral \U0001d518 \U0001f469\u200d\U0001f467",
    "e\u0301 stays two characters",
    '{"json": ["]"]}',
    "[[u:somebody]] [[= [[a:",
    "<<NONE>> # MESSAGE BLOCK ID: 0",
    "x" * 100_000,
)
