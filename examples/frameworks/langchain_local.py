"""LangChain with a model in this process: python langchain_local.py [MODEL]"""

from __future__ import annotations

import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from llama_bind.integrations.langchain import ChatLlamaBind


def main(model: str = "smollm2-135m-instruct") -> None:
    prompt = ChatPromptTemplate.from_messages(
        [
            ("system", "You answer in one sentence."),
            ("human", "What is the capital of {country}?"),
        ]
    )
    chain = prompt | ChatLlamaBind(model=model, n_ctx=2048, temperature=0, max_tokens=32) | StrOutputParser()
    print(chain.invoke({"country": "France"}))
    for answer in chain.batch([{"country": "Italy"}, {"country": "Japan"}]):
        print(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
