"""A model in llama.cpp, through llama-cpp-python's low-level functions: what the comparisons here share."""

import llama_cpp

LOG = llama_cpp.llama_log_callback(lambda *_: None)  # Must live as long as the library.


def load_model(path, repack):
    """A model with its weights repacked at load or not, without a word on the terminal."""
    llama_cpp.llama_log_set(LOG, None)
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.use_extra_bufts = repack
    return llama_cpp.llama_model_load_from_file(str(path).encode(), params)


class Llama:
    """A model and a context of one sequence, evaluated with made-up tokens."""

    def __init__(self, path, *, n_ctx, n_batch, threads, repack, batch_threads=None):
        model = load_model(path, repack)
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = n_ctx
        settings.n_batch = settings.n_ubatch = n_batch
        settings.n_threads, settings.n_threads_batch = threads, batch_threads or threads
        self.context = llama_cpp.llama_init_from_model(model, settings)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def clear(self):
        """Forgets all positions."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def step(self, first, n):
        """Evaluates `n` tokens from position `first` on, at once, with the logits of the last."""
        batch = llama_cpp.llama_batch_init(n, 0, 1)
        batch.n_tokens = n
        for i in range(n):
            batch.token[i] = (first + i) * 7919 % self.n_vocab
            batch.pos[i] = first + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = i == n - 1
        if llama_cpp.llama_decode(self.context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        llama_cpp.llama_synchronize(self.context)
        llama_cpp.llama_batch_free(batch)
