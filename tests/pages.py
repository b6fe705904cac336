"""What a reader sees of a page, for tests."""

import re
from html import unescape


def words_of(path):
    """The text of a page without tags, style and scripts, white space as one space."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", path.read_text(), flags=re.DOTALL)
    return " ".join(
        unescape(re.sub(r"<[^>]*>", "", re.sub(r"</?(p|li|td|th|tr|h\d|dt|dd|div|br)\b[^>]*>", " ", body))).split()
    )
