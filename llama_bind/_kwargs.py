"""Keyword arguments of `Llama` and its calls, written by ``python -m codegen``: do not edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from typing_extensions import TypedDict

from llama_bind.params import AdapterSpec, TensorBufferOverride

__all__ = ["BeamKwargs", "ChatKwargs", "CompletionKwargs", "InfillKwargs", "LlamaKwargs", "ToolRunKwargs"]


class LlamaKwargs(TypedDict, total=False):
    """Options of `Llama`."""

    n_gpu_layers: int | None
    """Layers to put on the GPU; -1 is all. Unset: all when a GPU is present."""
    split_mode: int | str | None
    """How to split over several GPUs: none, layer, row, tensor (or llama.cpp's number)."""
    main_gpu: int | None
    """The GPU that holds everything when split_mode is none."""
    tensor_split: Sequence[float] | None
    """Share of the model for each GPU, in order."""
    devices: Sequence[str] | None
    """Names of the devices to use, as `llama-bind doctor` lists them; empty: CPU only."""
    tensor_buft_overrides: Sequence[TensorBufferOverride | tuple[str, str]] | None
    """Pairs of a tensor name pattern and a buffer type, e.g. ('exps', 'CPU')."""
    vocab_only: bool | None
    """Load the vocabulary without the weights: tokenizing works, generating does not."""
    use_mmap: bool | None
    """Map the file into memory instead of reading it."""
    use_mlock: bool | None
    """Keep the model in physical memory."""
    use_direct_io: bool | None
    """Read past the page cache where the system can; takes the place of use_mmap."""
    lazy_mode: str | None
    """Read big tensors that the architecture marks on demand."""
    load_mtp: bool | None
    """Load multi-token-prediction layers. Unset: llama.cpp's default."""
    check_tensors: bool | None
    """Check every tensor's data while loading (slow)."""
    use_extra_bufts: bool | None
    """Repack weights into faster layouts where the CPU has them."""
    no_host: bool | None
    """Bypass host buffers so that extra buffer types can be used."""
    kv_overrides: Mapping[str, bool | int | float | str] | None
    """Values that replace those of the file's metadata."""
    numa: bool | str | None
    """NUMA strategy: False, distribute (or True), isolate, numactl, mirror. Once per process."""
    rpc_servers: Sequence[str] | None
    """host:port of llama.cpp RPC servers whose devices are added."""
    check_model: bool | None
    """Check the file for damage that would crash llama.cpp before loading it."""
    check_memory: bool | None
    """Refuse a model that needs more memory than is free, before it is loaded."""
    progress_callback: Callable[[float], Any] | None
    """Called with the share loaded (0 to 1); returning False stops the load."""
    n_ctx: int | None
    """Tokens of context that one text can have. 0: the model's own. Unset: the model's own up to 8192, less where
    memory is short.
    """
    n_batch: int | None
    """Most tokens in one call of llama_decode."""
    n_ubatch: int | None
    """Most tokens computed at once."""
    n_seq_max: int | None
    """Most texts that run at the same time. Unset: 4; 64 for models that only embed."""
    kv_unified: bool | None
    """True: one cache of n_ctx tokens for all texts together. False: n_ctx tokens for each of n_seq_max texts, which
    is faster on a CPU. Unset: False where n_seq_max is given and an eighth of the free memory is enough: for the
    n_ctx that is asked for; for the model's own or 4096 tokens where none is.
    """
    n_threads: int | None
    """Threads for generating. Unset: the usable physical cores."""
    n_threads_batch: int | None
    """Threads for prompts. Unset: as n_threads."""
    rope_scaling_type: int | str | None
    """RoPE scaling: unspecified (the model's), none, linear, yarn, longrope."""
    rope_freq_base: float | None
    """RoPE base frequency; 0: the model's."""
    rope_freq_scale: float | None
    """RoPE frequency scale; 0: the model's."""
    yarn_ext_factor: float | None
    """YaRN extrapolation mix; negative: the model's."""
    yarn_attn_factor: float | None
    """YaRN magnitude scale; negative: the model's."""
    yarn_beta_fast: float | None
    """YaRN low correction dimension; negative: the model's."""
    yarn_beta_slow: float | None
    """YaRN high correction dimension; negative: the model's."""
    yarn_orig_ctx: int | None
    """YaRN original context; 0: the model's."""
    pooling_type: int | str | None
    """How embeddings of tokens become one: unspecified (the model's, else mean), none, mean, cls, last, rank."""
    attention_type: int | str | None
    """Attention for embeddings: unspecified (the model's), causal, non_causal."""
    embedding: bool | None
    """Make embeddings (and text too, where the model can); see `Llama.embed`."""
    offload_kqv: bool | None
    """Keep the K and V cache on the GPU."""
    op_offload: bool | None
    """Compute big operations on host tensors on the GPU."""
    flash_attn: bool | str | None
    """Flash attention: True, False, or auto (also None): on where the device has it."""
    swa_full: bool | None
    """Full-size cache for sliding-window models, so that prefixes can be reused."""
    type_k: int | str | None
    """Type of the K cache: f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1 (or ggml's number)."""
    type_v: int | str | None
    """Type of the V cache; other than f16, bf16 and f32 needs flash attention."""
    n_rs_seq: int | None
    """Snapshots of recurrent state for each sequence, for rolling back."""
    no_perf: bool | None
    """Do not take llama.cpp's internal timings."""
    abort_callback: Callable[[], Any] | None
    """Called between the nodes of a compute graph (slow); returning True stops the decode."""
    eval_callback: Callable[[Any, bool], Any] | None
    """Called with (tensor pointer, ask) for tensors as they are computed (slow)."""
    seed: int | None
    """Seed from which every request without one gets its own. Unset: real entropy."""
    chat_format: str | None
    """Name of a chat format. Unset: the model's own template."""
    chat_template: str | None
    """Jinja chat template in place of the model's own."""
    chat_handler: Callable[..., Any] | None
    """Called for chat completions as handler(llama=..., messages=..., **options)."""
    lora_path: str | None
    """A LoRA adapter file."""
    lora_scale: float | None
    """Scale of lora_path."""
    loras: Sequence[AdapterSpec | tuple[str, float]] | None
    """Several LoRA adapters."""
    tokenizer: Any
    """Object with tokenize(bytes, add_bos, special) that turns prompts into tokens in the model's place."""
    draft_model: Callable[[Any], Any] | str | PathLike[str] | None
    """Guesses next tokens, which are checked together: prompt-lookup, mtp (the model's own multi-token-prediction
    layers), a smaller GGUF model with the same vocabulary (file or known name); in Python also `PromptLookup()` or
    a function of the ids.
    """
    draft_max: int | None
    """Most tokens guessed at once."""
    draft_min_p: float | None
    """A draft model stops guessing where its likeliest token's probability is below this."""
    draft_n_gpu_layers: int | None
    """Layers of the draft model to put on the GPU; -1 is all. Unset: all when a GPU is present."""
    step_target: float | None
    """Seconds that a step should take on the average while any text waits for its next token and prompts are computed
    in parts beside it. Higher: prompts are done sooner, running texts come more slowly.
    """
    max_queue: int | None
    """Most requests that wait for their turn. Unset: any number."""
    cache_ram_bytes: int | None
    """Most bytes of host memory for texts that the context has no room for; taken as they come. 0: none."""
    cache_dir: str | PathLike[str] | None
    """Directory for files of texts that neither context nor host memory have room for; later processes find them. Who
    can read it can read the texts. Unset: none.
    """
    cache_dir_bytes: int | None
    """Most bytes of all files in cache_dir; those used longest ago go first."""
    engine_process: bool | None
    """Run the engine in a child process: a crash of native code ends the requests in it, not the program."""
    hang_timeout: float | None
    """With engine_process: seconds without progress until it ends (0: never)."""
    load_hang_timeout: float | None
    """With engine_process: seconds without progress of a load until it has failed (0: never)."""
    last_n_tokens_size: int | None
    """Default of penalty_last_n."""
    logits_all: bool | None
    """Accepted for compatibility; log probabilities need no such preparation here."""
    verbose: bool | None
    """Write llama.cpp's log to standard error."""


class CompletionKwargs(TypedDict, total=False):
    """Options of `Llama.create_completion`, besides stream."""

    temperature: float | None
    """0 takes the likeliest token; higher is more random."""
    top_k: int | None
    """Keep the k likeliest tokens; 0 or less: all."""
    top_p: float | None
    """Keep the likeliest tokens that together reach this probability; 1: all."""
    min_p: float | None
    """Drop tokens below this share of the likeliest one's probability; 0: none."""
    typical_p: float | None
    """Locally typical sampling; 1: off."""
    top_n_sigma: float | None
    """Keep logits within n standard deviations of the highest; 0 or less: off."""
    xtc_probability: float | None
    """Chance to drop all but the least likely of the tokens above xtc_threshold; 0: off."""
    xtc_threshold: float | None
    """Threshold of XTC; above 0.5 it is off."""
    min_keep: int | None
    """Least tokens that top_p, min_p, typical_p and XTC leave."""
    dynatemp_range: float | None
    """Dynamic temperature: temperature plus or minus this; 0: off."""
    dynatemp_exponent: float | None
    """Dynamic temperature: exponent of the normalized entropy."""
    repeat_penalty: float | None
    """Divides the logits of tokens seen lately; 1: off."""
    frequency_penalty: float | None
    """Lowers logits by this for each time a token was seen lately."""
    presence_penalty: float | None
    """Lowers logits by this for tokens seen lately."""
    penalty_last_n: int | None
    """How many last tokens the penalties look at; 0: off, -1: the context."""
    dry_multiplier: float | None
    """Strength of DRY (against repeated runs of tokens); 0: off."""
    dry_base: float | None
    """Base of DRY's exponential penalty."""
    dry_allowed_length: int | None
    """Longest repetition that DRY leaves alone, in tokens."""
    dry_penalty_last_n: int | None
    """How many last tokens DRY looks at; 0: off, -1: the context."""
    dry_sequence_breakers: Sequence[str] | None
    """Strings at which DRY starts anew."""
    mirostat_mode: int | None
    """Mirostat: 0 off, 1 or 2; it replaces the other truncations."""
    mirostat_tau: float | None
    """Mirostat's target entropy."""
    mirostat_eta: float | None
    """Mirostat's learning rate."""
    adaptive_target: float | None
    """adaptive-p's target probability (used when samplers has adaptive_p); below 0: off."""
    adaptive_decay: float | None
    """adaptive-p's decay."""
    samplers: Sequence[str] | None
    """Samplers and their order: penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc, temperature, infill,
    adaptive_p.
    """
    seed: int | None
    """Seed of the draw, modulo 2**32. Unset: real entropy; the result says which was used."""
    logit_bias: Mapping[int, float] | Mapping[str, float] | None
    """Added to the logits of token ids; -100 or less as good as bans, 100 as good as forces."""
    ignore_eos: bool | None
    """Never choose a token that ends the generation."""
    grammar: Any
    """A GBNF grammar (text or `LlamaGrammar`) that the output must follow."""
    grammar_backend: str | None
    """What runs grammar: llguidance, or llama.cpp (its own sampler)."""
    cache_prompt: bool | None
    """Take what is in memory of the prompt's beginning; else compute all of it."""
    return_progress: bool | None
    """Streams say how far the prompt is: chunks with prompt_progress before the text."""
    timings_per_token: bool | None
    """All chunks of a stream carry the timings so far."""
    request_id: str | None
    """What `slots` calls it while it runs."""
    post_sampling_probs: bool | None
    """Log probabilities are those among the tokens that the samplers left, in place of the model's own."""
    max_tokens: int | None
    """Most tokens to generate. Unset or below 0: until the model stops or the context ends."""
    stop: str | Sequence[str] | None
    """Strings that end the text; they are not part of it."""
    stop_token_ids: Sequence[int] | None
    """Token ids that end the text like the model's own end."""
    min_tokens: int | None
    """Tokens to generate before one that ends the text (the model's own end, stop_token_ids) may be chosen; stop
    strings still end it.
    """
    bad_words: Sequence[str | Sequence[int]] | None
    """Words that must not appear: strings, each also as it is written after a space, or lists of token ids."""
    regex: str | None
    """A pattern (as of Rust's regex crate) that the whole output must match."""
    choice: Sequence[str] | None
    """Texts of which the output must be one."""
    lark: str | None
    """A grammar in llguidance's dialect of Lark that the output must follow."""
    response_format: Any
    """Form of the output: OpenAI's json_object or json_schema, or a type, parsed into it."""
    json_schema: Any
    """A JSON Schema (or its text, or a type) that the output must meet."""
    strict: bool | None
    """Refuse schemas that cannot be enforced whole; else check the output."""
    json_whitespace: str | None
    """In JSON of a schema: a space after , and : (fixed), none (compact), or any (free)."""
    schema_formats: str | None
    """Formats of strings to enforce: known ones, none (ignore), or all (required)."""
    schema_members: str | None
    """Where a schema names members and is silent about others: only those (named), or others too (any)."""
    allowed_token_ids: Sequence[int] | None
    """The only tokens that may be chosen; those that end the text too only if listed."""
    logprobs: int | bool | None
    """Give the log probabilities of the tokens, and of this many alternatives."""
    echo: bool | None
    """Give the prompt back before the text."""
    suffix: str | None
    """Text after the gap: the model fills in between (needs a fill-in-the-middle model)."""
    stream_options: Mapping[str, Any] | None
    """{'include_usage': True} ends a stream with the usage."""
    n: int | None
    """Number of completions."""
    best_of: int | None
    """Generate so many completions and give the n whose tokens are likeliest on average, best first; not streamed."""
    priority: int | None
    """Higher goes first."""
    user: str | None
    """Who asks: requests of several users that wait take turns, by the tokens that each was served."""
    cache_salt: str | None
    """What was computed is shared only between requests of the same salt; no time betrays another's prompt."""
    queue_timeout: float | None
    """Seconds in which the request must start; else it ends with finish reason "deadline"."""
    first_token_timeout: float | None
    """Seconds in which the first token must come; else it ends with finish reason "deadline"."""
    timeout: float | None
    """Seconds after which the text ends as it is, with finish reason "deadline"."""
    reproducible: bool | None
    """Compute the text apart from all others: what else runs cannot change it. Slower; needs kv_unified=False where
    n_seq_max is above 1.
    """
    context_overflow: str | None
    """Where a prompt is longer than the context: error; stop (finish reason length, no text); truncate its middle.
    shift does that too, and when the text fills the context it drops the older half of it and goes on.
    """
    n_keep: int | None
    """Tokens at the start of the prompt that truncate and shift leave alone."""
    logits_processor: Callable[[Any, Any], Any] | Sequence[Callable[[Any, Any], Any]] | None
    """Functions (input_ids, scores) -> scores over the raw logits."""
    stopping_criteria: Callable[[Any, Any], bool] | Sequence[Callable[[Any, Any], bool]] | None
    """Functions (input_ids, scores) -> bool; True ends the text."""
    n_draft: int | None
    """Most tokens guessed at once (see draft_model); 0: none. Unset: draft_max. Without a draft_model a number turns
    prompt lookup on.
    """
    model: str | None
    """The name that the result carries as its model."""


class ChatKwargs(TypedDict, total=False):
    """Options of `Llama.create_chat_completion`, besides stream."""

    temperature: float | None
    """0 takes the likeliest token; higher is more random."""
    top_k: int | None
    """Keep the k likeliest tokens; 0 or less: all."""
    top_p: float | None
    """Keep the likeliest tokens that together reach this probability; 1: all."""
    min_p: float | None
    """Drop tokens below this share of the likeliest one's probability; 0: none."""
    typical_p: float | None
    """Locally typical sampling; 1: off."""
    top_n_sigma: float | None
    """Keep logits within n standard deviations of the highest; 0 or less: off."""
    xtc_probability: float | None
    """Chance to drop all but the least likely of the tokens above xtc_threshold; 0: off."""
    xtc_threshold: float | None
    """Threshold of XTC; above 0.5 it is off."""
    min_keep: int | None
    """Least tokens that top_p, min_p, typical_p and XTC leave."""
    dynatemp_range: float | None
    """Dynamic temperature: temperature plus or minus this; 0: off."""
    dynatemp_exponent: float | None
    """Dynamic temperature: exponent of the normalized entropy."""
    repeat_penalty: float | None
    """Divides the logits of tokens seen lately; 1: off."""
    frequency_penalty: float | None
    """Lowers logits by this for each time a token was seen lately."""
    presence_penalty: float | None
    """Lowers logits by this for tokens seen lately."""
    penalty_last_n: int | None
    """How many last tokens the penalties look at; 0: off, -1: the context."""
    dry_multiplier: float | None
    """Strength of DRY (against repeated runs of tokens); 0: off."""
    dry_base: float | None
    """Base of DRY's exponential penalty."""
    dry_allowed_length: int | None
    """Longest repetition that DRY leaves alone, in tokens."""
    dry_penalty_last_n: int | None
    """How many last tokens DRY looks at; 0: off, -1: the context."""
    dry_sequence_breakers: Sequence[str] | None
    """Strings at which DRY starts anew."""
    mirostat_mode: int | None
    """Mirostat: 0 off, 1 or 2; it replaces the other truncations."""
    mirostat_tau: float | None
    """Mirostat's target entropy."""
    mirostat_eta: float | None
    """Mirostat's learning rate."""
    adaptive_target: float | None
    """adaptive-p's target probability (used when samplers has adaptive_p); below 0: off."""
    adaptive_decay: float | None
    """adaptive-p's decay."""
    samplers: Sequence[str] | None
    """Samplers and their order: penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc, temperature, infill,
    adaptive_p.
    """
    seed: int | None
    """Seed of the draw, modulo 2**32. Unset: real entropy; the result says which was used."""
    logit_bias: Mapping[int, float] | Mapping[str, float] | None
    """Added to the logits of token ids; -100 or less as good as bans, 100 as good as forces."""
    ignore_eos: bool | None
    """Never choose a token that ends the generation."""
    grammar: Any
    """A GBNF grammar (text or `LlamaGrammar`) that the output must follow."""
    grammar_backend: str | None
    """What runs grammar: llguidance, or llama.cpp (its own sampler)."""
    cache_prompt: bool | None
    """Take what is in memory of the prompt's beginning; else compute all of it."""
    return_progress: bool | None
    """Streams say how far the prompt is: chunks with prompt_progress before the text."""
    timings_per_token: bool | None
    """All chunks of a stream carry the timings so far."""
    request_id: str | None
    """What `slots` calls it while it runs."""
    post_sampling_probs: bool | None
    """Log probabilities are those among the tokens that the samplers left, in place of the model's own."""
    max_tokens: int | None
    """Most tokens to generate. Unset or below 0: until the model stops or the context ends."""
    stop: str | Sequence[str] | None
    """Strings that end the text; they are not part of it."""
    stop_token_ids: Sequence[int] | None
    """Token ids that end the text like the model's own end."""
    min_tokens: int | None
    """Tokens to generate before one that ends the text (the model's own end, stop_token_ids) may be chosen; stop
    strings still end it.
    """
    bad_words: Sequence[str | Sequence[int]] | None
    """Words that must not appear: strings, each also as it is written after a space, or lists of token ids."""
    regex: str | None
    """A pattern (as of Rust's regex crate) that the whole output must match."""
    choice: Sequence[str] | None
    """Texts of which the output must be one."""
    lark: str | None
    """A grammar in llguidance's dialect of Lark that the output must follow."""
    response_format: Any
    """Form of the output: OpenAI's json_object or json_schema, or a type, parsed into it."""
    json_schema: Any
    """A JSON Schema (or its text, or a type) that the output must meet."""
    strict: bool | None
    """Refuse schemas that cannot be enforced whole; else check the output."""
    json_whitespace: str | None
    """In JSON of a schema: a space after , and : (fixed), none (compact), or any (free)."""
    schema_formats: str | None
    """Formats of strings to enforce: known ones, none (ignore), or all (required)."""
    schema_members: str | None
    """Where a schema names members and is silent about others: only those (named), or others too (any)."""
    allowed_token_ids: Sequence[int] | None
    """The only tokens that may be chosen; those that end the text too only if listed."""
    logprobs: int | bool | None
    """Give the log probabilities of the tokens, and of this many alternatives."""
    stream_options: Mapping[str, Any] | None
    """{'include_usage': True} ends a stream with the usage."""
    n: int | None
    """Number of completions."""
    best_of: int | None
    """Generate so many completions and give the n whose tokens are likeliest on average, best first; not streamed."""
    priority: int | None
    """Higher goes first."""
    user: str | None
    """Who asks: requests of several users that wait take turns, by the tokens that each was served."""
    cache_salt: str | None
    """What was computed is shared only between requests of the same salt; no time betrays another's prompt."""
    queue_timeout: float | None
    """Seconds in which the request must start; else it ends with finish reason "deadline"."""
    first_token_timeout: float | None
    """Seconds in which the first token must come; else it ends with finish reason "deadline"."""
    timeout: float | None
    """Seconds after which the text ends as it is, with finish reason "deadline"."""
    reproducible: bool | None
    """Compute the text apart from all others: what else runs cannot change it. Slower; needs kv_unified=False where
    n_seq_max is above 1.
    """
    context_overflow: str | None
    """Where a prompt is longer than the context: error; stop (finish reason length, no text); truncate its middle.
    shift does that too, and when the text fills the context it drops the older half of it and goes on.
    """
    n_keep: int | None
    """Tokens at the start of the prompt that truncate and shift leave alone."""
    logits_processor: Callable[[Any, Any], Any] | Sequence[Callable[[Any, Any], Any]] | None
    """Functions (input_ids, scores) -> scores over the raw logits."""
    stopping_criteria: Callable[[Any, Any], bool] | Sequence[Callable[[Any, Any], bool]] | None
    """Functions (input_ids, scores) -> bool; True ends the text."""
    n_draft: int | None
    """Most tokens guessed at once (see draft_model); 0: none. Unset: draft_max. Without a draft_model a number turns
    prompt lookup on.
    """
    model: str | None
    """The name that the result carries as its model."""
    top_logprobs: int | None
    """With logprobs: alternatives for each token."""
    chat_template_kwargs: Mapping[str, Any] | None
    """Values for the chat template."""
    add_generation_prompt: bool | None
    """Open the assistant's turn after the messages."""
    continue_final_message: bool | None
    """Continue the last message instead of opening a turn. Unset: where it is the assistant's, without tool calls."""
    chat_template: str | None
    """A template for this request: Jinja text, or the name of one of the model's further templates. Unset: "tool_use"
    where there is one and tools are given, else the usual one.
    """
    documents: Sequence[Mapping[str, Any] | str] | None
    """Texts to answer from, for templates that show documents: dicts with title and text."""
    tools: Sequence[Mapping[str, Any]] | None
    """Functions that the model may call, in OpenAI's shape."""
    tool_choice: str | Mapping[str, Any] | None
    """Which tools are called: "none", "auto" (the default), "required", one by name, or some (allowed_tools)."""
    parallel_tool_calls: bool | None
    """Whether one answer may hold several calls. Unset: where the template can show them, and no function is named."""
    functions: Sequence[Mapping[str, Any]] | None
    """Older form of tools."""
    function_call: str | Mapping[str, Any] | None
    """Older form of tool_choice."""
    enable_thinking: bool | None
    """Whether the model thinks before it answers. Where its template cannot be told, the prompt opens and closes its
    thoughts. Unset: as the template does.
    """
    reasoning_effort: str | None
    """How hard to think, for templates that can be told; none turns thinking off, anything else on."""
    reasoning_budget: int | None
    """Most tokens of thoughts; then they are closed and the answer begins. 0 turns thinking off."""
    reasoning_format: str | None
    """Thoughts come apart as reasoning_content (auto, deepseek), stay in the text with their tags (none), or stay
    there when the answer is streamed (deepseek-legacy).
    """


class InfillKwargs(TypedDict, total=False):
    """Options of `Llama.create_infill`, besides stream."""

    extra: Sequence[Mapping[str, str]] | None
    """Other files, dicts with filename and text, the most telling one last; the first are left out where not all fit.
    """
    prompt: str | None
    """What the text in the gap begins with; it is not given back."""
    filename: str | None
    """Name of the file with the gap, for models that know file names."""
    repository: str | None
    """Name of the project, for models that know such names."""
    spm_infill: bool | None
    """Suffix before prefix, for models that were trained so."""
    temperature: float | None
    """0 takes the likeliest token; higher is more random."""
    top_k: int | None
    """Keep the k likeliest tokens; 0 or less: all."""
    top_p: float | None
    """Keep the likeliest tokens that together reach this probability; 1: all."""
    min_p: float | None
    """Drop tokens below this share of the likeliest one's probability; 0: none."""
    typical_p: float | None
    """Locally typical sampling; 1: off."""
    top_n_sigma: float | None
    """Keep logits within n standard deviations of the highest; 0 or less: off."""
    xtc_probability: float | None
    """Chance to drop all but the least likely of the tokens above xtc_threshold; 0: off."""
    xtc_threshold: float | None
    """Threshold of XTC; above 0.5 it is off."""
    min_keep: int | None
    """Least tokens that top_p, min_p, typical_p and XTC leave."""
    dynatemp_range: float | None
    """Dynamic temperature: temperature plus or minus this; 0: off."""
    dynatemp_exponent: float | None
    """Dynamic temperature: exponent of the normalized entropy."""
    repeat_penalty: float | None
    """Divides the logits of tokens seen lately; 1: off."""
    frequency_penalty: float | None
    """Lowers logits by this for each time a token was seen lately."""
    presence_penalty: float | None
    """Lowers logits by this for tokens seen lately."""
    penalty_last_n: int | None
    """How many last tokens the penalties look at; 0: off, -1: the context."""
    dry_multiplier: float | None
    """Strength of DRY (against repeated runs of tokens); 0: off."""
    dry_base: float | None
    """Base of DRY's exponential penalty."""
    dry_allowed_length: int | None
    """Longest repetition that DRY leaves alone, in tokens."""
    dry_penalty_last_n: int | None
    """How many last tokens DRY looks at; 0: off, -1: the context."""
    dry_sequence_breakers: Sequence[str] | None
    """Strings at which DRY starts anew."""
    mirostat_mode: int | None
    """Mirostat: 0 off, 1 or 2; it replaces the other truncations."""
    mirostat_tau: float | None
    """Mirostat's target entropy."""
    mirostat_eta: float | None
    """Mirostat's learning rate."""
    adaptive_target: float | None
    """adaptive-p's target probability (used when samplers has adaptive_p); below 0: off."""
    adaptive_decay: float | None
    """adaptive-p's decay."""
    samplers: Sequence[str] | None
    """Samplers and their order: penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc, temperature, infill,
    adaptive_p.
    """
    seed: int | None
    """Seed of the draw, modulo 2**32. Unset: real entropy; the result says which was used."""
    logit_bias: Mapping[int, float] | Mapping[str, float] | None
    """Added to the logits of token ids; -100 or less as good as bans, 100 as good as forces."""
    ignore_eos: bool | None
    """Never choose a token that ends the generation."""
    grammar: Any
    """A GBNF grammar (text or `LlamaGrammar`) that the output must follow."""
    grammar_backend: str | None
    """What runs grammar: llguidance, or llama.cpp (its own sampler)."""
    cache_prompt: bool | None
    """Take what is in memory of the prompt's beginning; else compute all of it."""
    return_progress: bool | None
    """Streams say how far the prompt is: chunks with prompt_progress before the text."""
    timings_per_token: bool | None
    """All chunks of a stream carry the timings so far."""
    request_id: str | None
    """What `slots` calls it while it runs."""
    post_sampling_probs: bool | None
    """Log probabilities are those among the tokens that the samplers left, in place of the model's own."""
    max_tokens: int | None
    """Most tokens to generate. Unset or below 0: until the model stops or the context ends."""
    stop: str | Sequence[str] | None
    """Strings that end the text; they are not part of it."""
    stop_token_ids: Sequence[int] | None
    """Token ids that end the text like the model's own end."""
    min_tokens: int | None
    """Tokens to generate before one that ends the text (the model's own end, stop_token_ids) may be chosen; stop
    strings still end it.
    """
    bad_words: Sequence[str | Sequence[int]] | None
    """Words that must not appear: strings, each also as it is written after a space, or lists of token ids."""
    regex: str | None
    """A pattern (as of Rust's regex crate) that the whole output must match."""
    choice: Sequence[str] | None
    """Texts of which the output must be one."""
    lark: str | None
    """A grammar in llguidance's dialect of Lark that the output must follow."""
    response_format: Any
    """Form of the output: OpenAI's json_object or json_schema, or a type, parsed into it."""
    json_schema: Any
    """A JSON Schema (or its text, or a type) that the output must meet."""
    strict: bool | None
    """Refuse schemas that cannot be enforced whole; else check the output."""
    json_whitespace: str | None
    """In JSON of a schema: a space after , and : (fixed), none (compact), or any (free)."""
    schema_formats: str | None
    """Formats of strings to enforce: known ones, none (ignore), or all (required)."""
    schema_members: str | None
    """Where a schema names members and is silent about others: only those (named), or others too (any)."""
    allowed_token_ids: Sequence[int] | None
    """The only tokens that may be chosen; those that end the text too only if listed."""
    logprobs: int | bool | None
    """Give the log probabilities of the tokens, and of this many alternatives."""
    stream_options: Mapping[str, Any] | None
    """{'include_usage': True} ends a stream with the usage."""
    n: int | None
    """Number of completions."""
    best_of: int | None
    """Generate so many completions and give the n whose tokens are likeliest on average, best first; not streamed."""
    priority: int | None
    """Higher goes first."""
    user: str | None
    """Who asks: requests of several users that wait take turns, by the tokens that each was served."""
    cache_salt: str | None
    """What was computed is shared only between requests of the same salt; no time betrays another's prompt."""
    queue_timeout: float | None
    """Seconds in which the request must start; else it ends with finish reason "deadline"."""
    first_token_timeout: float | None
    """Seconds in which the first token must come; else it ends with finish reason "deadline"."""
    timeout: float | None
    """Seconds after which the text ends as it is, with finish reason "deadline"."""
    reproducible: bool | None
    """Compute the text apart from all others: what else runs cannot change it. Slower; needs kv_unified=False where
    n_seq_max is above 1.
    """
    context_overflow: str | None
    """Where a prompt is longer than the context: error; stop (finish reason length, no text); truncate its middle.
    shift does that too, and when the text fills the context it drops the older half of it and goes on.
    """
    n_keep: int | None
    """Tokens at the start of the prompt that truncate and shift leave alone."""
    logits_processor: Callable[[Any, Any], Any] | Sequence[Callable[[Any, Any], Any]] | None
    """Functions (input_ids, scores) -> scores over the raw logits."""
    stopping_criteria: Callable[[Any, Any], bool] | Sequence[Callable[[Any, Any], bool]] | None
    """Functions (input_ids, scores) -> bool; True ends the text."""
    n_draft: int | None
    """Most tokens guessed at once (see draft_model); 0: none. Unset: draft_max. Without a draft_model a number turns
    prompt lookup on.
    """
    model: str | None
    """The name that the result carries as its model."""


class VectorKwargs(TypedDict, total=False):
    """Options of `Llama.embed`, `create_embedding` and `rerank`."""

    user: str | None
    """Who asks: texts of several users that wait take turns, with each other and with what else is asked."""
    priority: int | None
    """Higher goes first."""
    request_id: str | None
    """What `slots` calls its texts while they run."""
    queue_timeout: float | None
    """Seconds in which the first text must start; else the call is a DeadlineError."""
    timeout: float | None
    """Seconds in which all texts must be computed; else the call is a DeadlineError."""


class BeamKwargs(TypedDict, total=False):
    """Options of `Llama.beam_search`."""

    beam_width: int | None
    """Texts that are followed at each step, and given at the end."""
    max_tokens: int | None
    """Most tokens to generate."""
    length_penalty: float | None
    """The score is the log probability divided by the number of tokens to this power: above 0 favours long texts."""
    ignore_eos: bool | None
    """Never choose a token that ends the text."""
    stop_token_ids: Sequence[int] | None
    """Token ids that end the text like the model's own end."""
    priority: int | None
    """Higher goes first."""


class ToolRunKwargs(TypedDict, total=False):
    """Options of `Llama.run_tools` and `Llama.stream_tools`, besides tools."""

    max_rounds: int | None
    """Rounds of calls. After so many the model answers once more, and must do without tools."""
    tool_timeout: float | None
    """Seconds that one call of a function may take; then the model is told so. An async function is cancelled, another
    goes on in its thread and nobody waits for it. `FunctionTool` has its own.
    """
    max_parallel_tools: int | None
    """Calls of one answer that run at the same time; 1: one after the other."""
    max_result_chars: int | None
    """Characters of one result that the model gets; the rest is cut with a note. Unset: as many as the context has
    tokens, which is about a quarter of it.
    """
    approve: Callable[[Any], Any] | None
    """Asked before each call, with a `ToolCall`: True runs it; False, or a str that says why, tells the model that it
    was not approved. May be async.
    """
    temperature: float | None
    """0 takes the likeliest token; higher is more random."""
    top_k: int | None
    """Keep the k likeliest tokens; 0 or less: all."""
    top_p: float | None
    """Keep the likeliest tokens that together reach this probability; 1: all."""
    min_p: float | None
    """Drop tokens below this share of the likeliest one's probability; 0: none."""
    typical_p: float | None
    """Locally typical sampling; 1: off."""
    top_n_sigma: float | None
    """Keep logits within n standard deviations of the highest; 0 or less: off."""
    xtc_probability: float | None
    """Chance to drop all but the least likely of the tokens above xtc_threshold; 0: off."""
    xtc_threshold: float | None
    """Threshold of XTC; above 0.5 it is off."""
    min_keep: int | None
    """Least tokens that top_p, min_p, typical_p and XTC leave."""
    dynatemp_range: float | None
    """Dynamic temperature: temperature plus or minus this; 0: off."""
    dynatemp_exponent: float | None
    """Dynamic temperature: exponent of the normalized entropy."""
    repeat_penalty: float | None
    """Divides the logits of tokens seen lately; 1: off."""
    frequency_penalty: float | None
    """Lowers logits by this for each time a token was seen lately."""
    presence_penalty: float | None
    """Lowers logits by this for tokens seen lately."""
    penalty_last_n: int | None
    """How many last tokens the penalties look at; 0: off, -1: the context."""
    dry_multiplier: float | None
    """Strength of DRY (against repeated runs of tokens); 0: off."""
    dry_base: float | None
    """Base of DRY's exponential penalty."""
    dry_allowed_length: int | None
    """Longest repetition that DRY leaves alone, in tokens."""
    dry_penalty_last_n: int | None
    """How many last tokens DRY looks at; 0: off, -1: the context."""
    dry_sequence_breakers: Sequence[str] | None
    """Strings at which DRY starts anew."""
    mirostat_mode: int | None
    """Mirostat: 0 off, 1 or 2; it replaces the other truncations."""
    mirostat_tau: float | None
    """Mirostat's target entropy."""
    mirostat_eta: float | None
    """Mirostat's learning rate."""
    adaptive_target: float | None
    """adaptive-p's target probability (used when samplers has adaptive_p); below 0: off."""
    adaptive_decay: float | None
    """adaptive-p's decay."""
    samplers: Sequence[str] | None
    """Samplers and their order: penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc, temperature, infill,
    adaptive_p.
    """
    seed: int | None
    """Seed of the draw, modulo 2**32. Unset: real entropy; the result says which was used."""
    logit_bias: Mapping[int, float] | Mapping[str, float] | None
    """Added to the logits of token ids; -100 or less as good as bans, 100 as good as forces."""
    ignore_eos: bool | None
    """Never choose a token that ends the generation."""
    grammar: Any
    """A GBNF grammar (text or `LlamaGrammar`) that the output must follow."""
    grammar_backend: str | None
    """What runs grammar: llguidance, or llama.cpp (its own sampler)."""
    cache_prompt: bool | None
    """Take what is in memory of the prompt's beginning; else compute all of it."""
    return_progress: bool | None
    """Streams say how far the prompt is: chunks with prompt_progress before the text."""
    timings_per_token: bool | None
    """All chunks of a stream carry the timings so far."""
    request_id: str | None
    """What `slots` calls it while it runs."""
    post_sampling_probs: bool | None
    """Log probabilities are those among the tokens that the samplers left, in place of the model's own."""
    max_tokens: int | None
    """Most tokens to generate. Unset or below 0: until the model stops or the context ends."""
    stop: str | Sequence[str] | None
    """Strings that end the text; they are not part of it."""
    stop_token_ids: Sequence[int] | None
    """Token ids that end the text like the model's own end."""
    min_tokens: int | None
    """Tokens to generate before one that ends the text (the model's own end, stop_token_ids) may be chosen; stop
    strings still end it.
    """
    bad_words: Sequence[str | Sequence[int]] | None
    """Words that must not appear: strings, each also as it is written after a space, or lists of token ids."""
    regex: str | None
    """A pattern (as of Rust's regex crate) that the whole output must match."""
    choice: Sequence[str] | None
    """Texts of which the output must be one."""
    lark: str | None
    """A grammar in llguidance's dialect of Lark that the output must follow."""
    response_format: Any
    """Form of the output: OpenAI's json_object or json_schema, or a type, parsed into it."""
    json_schema: Any
    """A JSON Schema (or its text, or a type) that the output must meet."""
    strict: bool | None
    """Refuse schemas that cannot be enforced whole; else check the output."""
    json_whitespace: str | None
    """In JSON of a schema: a space after , and : (fixed), none (compact), or any (free)."""
    schema_formats: str | None
    """Formats of strings to enforce: known ones, none (ignore), or all (required)."""
    schema_members: str | None
    """Where a schema names members and is silent about others: only those (named), or others too (any)."""
    allowed_token_ids: Sequence[int] | None
    """The only tokens that may be chosen; those that end the text too only if listed."""
    logprobs: int | bool | None
    """Give the log probabilities of the tokens, and of this many alternatives."""
    stream_options: Mapping[str, Any] | None
    """{'include_usage': True} ends a stream with the usage."""
    priority: int | None
    """Higher goes first."""
    user: str | None
    """Who asks: requests of several users that wait take turns, by the tokens that each was served."""
    cache_salt: str | None
    """What was computed is shared only between requests of the same salt; no time betrays another's prompt."""
    queue_timeout: float | None
    """Seconds in which the request must start; else it ends with finish reason "deadline"."""
    first_token_timeout: float | None
    """Seconds in which the first token must come; else it ends with finish reason "deadline"."""
    timeout: float | None
    """Seconds after which the text ends as it is, with finish reason "deadline"."""
    reproducible: bool | None
    """Compute the text apart from all others: what else runs cannot change it. Slower; needs kv_unified=False where
    n_seq_max is above 1.
    """
    context_overflow: str | None
    """Where a prompt is longer than the context: error; stop (finish reason length, no text); truncate its middle.
    shift does that too, and when the text fills the context it drops the older half of it and goes on.
    """
    n_keep: int | None
    """Tokens at the start of the prompt that truncate and shift leave alone."""
    logits_processor: Callable[[Any, Any], Any] | Sequence[Callable[[Any, Any], Any]] | None
    """Functions (input_ids, scores) -> scores over the raw logits."""
    stopping_criteria: Callable[[Any, Any], bool] | Sequence[Callable[[Any, Any], bool]] | None
    """Functions (input_ids, scores) -> bool; True ends the text."""
    n_draft: int | None
    """Most tokens guessed at once (see draft_model); 0: none. Unset: draft_max. Without a draft_model a number turns
    prompt lookup on.
    """
    model: str | None
    """The name that the result carries as its model."""
    top_logprobs: int | None
    """With logprobs: alternatives for each token."""
    chat_template_kwargs: Mapping[str, Any] | None
    """Values for the chat template."""
    add_generation_prompt: bool | None
    """Open the assistant's turn after the messages."""
    continue_final_message: bool | None
    """Continue the last message instead of opening a turn. Unset: where it is the assistant's, without tool calls."""
    chat_template: str | None
    """A template for this request: Jinja text, or the name of one of the model's further templates. Unset: "tool_use"
    where there is one and tools are given, else the usual one.
    """
    documents: Sequence[Mapping[str, Any] | str] | None
    """Texts to answer from, for templates that show documents: dicts with title and text."""
    tool_choice: str | Mapping[str, Any] | None
    """Which tools are called: "none", "auto" (the default), "required", one by name, or some (allowed_tools)."""
    parallel_tool_calls: bool | None
    """Whether one answer may hold several calls. Unset: where the template can show them, and no function is named."""
    enable_thinking: bool | None
    """Whether the model thinks before it answers. Where its template cannot be told, the prompt opens and closes its
    thoughts. Unset: as the template does.
    """
    reasoning_effort: str | None
    """How hard to think, for templates that can be told; none turns thinking off, anything else on."""
    reasoning_budget: int | None
    """Most tokens of thoughts; then they are closed and the answer begins. 0 turns thinking off."""
    reasoning_format: str | None
    """Thoughts come apart as reasoning_content (auto, deepseek), stay in the text with their tags (none), or stay
    there when the answer is streamed (deepseek-legacy).
    """
