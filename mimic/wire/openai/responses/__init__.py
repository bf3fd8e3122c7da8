"""``/v1/responses``: OpenAI's Responses API. Its input is a list of items, and its answer is one as well."""

from typing import Final

PATH: Final = "/v1/responses"
COUNT_PATH: Final = f"{PATH}/input_tokens"
COMPACT_PATH: Final = f"{PATH}/compact"
