"""Predictions and perplexity by llama.cpp through llama-cpp-python, as the peer that we are compared with."""

import math
import pathlib
from collections.abc import Iterator

import llama_cpp
import numpy as np


def predictions(
    model: pathlib.Path, text: str, chunks: int | None = None, context: int = 512, threads: int = 2
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each of the first `chunks` of a text the logarithms of the vocabulary's probabilities, [places, n_vocab], and
    the tokens that come, by the protocol of llama-perplexity: chunks of `context` tokens, the first replaced by the
    start token, second halves scored."""
    llm = llama_cpp.Llama(
        str(model), n_ctx=context, n_batch=context, n_threads=threads, n_threads_batch=threads,
        logits_all=True, verbose=False,
    )
    tokens = llm.tokenize(text.encode(), add_bos=True, special=False)
    adds_bos = llama_cpp.llama_vocab_get_add_bos(llm._model.vocab)
    for start in range(0, len(tokens) - context + 1, context)[:chunks]:
        chunk = tokens[start : start + context]
        evaluated = [llm.token_bos(), *chunk[1:]] if adds_bos else chunk
        llm.reset()
        llm.eval(evaluated)
        logits = np.asarray(llm.scores[context // 2 : context - 1], dtype=np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        yield logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), np.asarray(chunk[context // 2 + 1 :])


def perplexity(
    model: pathlib.Path, text: str, chunks: int | None = None, context: int = 512, threads: int = 2
) -> tuple[float, float]:
    """Perplexity of a model on the first `chunks` of a text and its standard error."""
    losses = []
    for logarithms, targets in predictions(model, text, chunks, context, threads):
        losses.extend(-logarithms[np.arange(len(targets)), targets])
    mean = float(np.mean(losses))
    variance = float(np.mean(np.square(losses))) - mean * mean
    value = math.exp(mean)
    return value, value * math.sqrt(max(variance, 0.0) / (len(losses) - 1))
