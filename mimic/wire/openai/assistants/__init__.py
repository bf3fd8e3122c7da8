"""OpenAI's Assistants API: assistants, threads of messages, and runs, which are responses on a thread."""

from typing import Final

ASSISTANTS: Final = "/v1/assistants"
THREADS: Final = "/v1/threads"
THREAD_RUNS: Final = f"{THREADS}/runs"
RUNS: Final = f"{THREADS}/{{thread_id:str}}/runs"
OUTPUTS: Final = f"{RUNS}/{{run_id:str}}/submit_tool_outputs"
