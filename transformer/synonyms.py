"""Synonyms: names that other libraries have for settings and their values -> the names that they have here.

    Hugging Face, nanoGPT    n_layer, n_head, n_embd, hidden_size, num_attention_heads, intermediate_size, rope_theta
    PyTorch, Keras           d_model, nhead, dim_feedforward, betas, momentum, epochs, validation_split
    Optax, Flax              b1, b2, eps, peak_value, decay_rate, num_embeddings, qkv_features

They are suggested in errors and never read. A name is the last part of a full name, or a value, spelled as
`transformer.errors.plain_spelling` does; it may stand for several, of which the first that fits is meant.
"""

OURS = {
    "num_layers": "n_layer n_layers layers num_hidden_layers nlayers depth num_blocks n_blocks",
    "num_encoder_layers": "encoder_layers enc_layers n_encoder_layers",
    "num_decoder_layers": "decoder_layers dec_layers n_decoder_layers",
    "width": """
        d_model dmodel hidden_size hidden_dim hidden_width n_embd n_embed embed_dim embedding_dim emb_dim dim model_dim
        d_embed features qkv_features units embedding_size hidden
    """,
    "num_heads": "n_head n_heads nhead heads num_attention_heads attention_heads num_query_heads",
    "num_kv_heads": "num_key_value_heads n_kv_heads n_kv_head kv_heads num_groups num_query_groups",
    "head_width": "head_dim d_head dim_head d_k d_kv key_dim head_size value_dim",
    "feed_forward_width": """
        d_ff dff ffn_dim intermediate_size dim_feedforward mlp_dim d_inner n_inner ff_dim feedforward_dim
        ffn_hidden_size mlp_width feed_forward_dim feedforward_width ffn_width
    """,
    "vocab_size": "n_vocab vocabulary_size num_embeddings vocab n_tokens num_tokens num_words max_features",
    "max_length": """
        max_position_embeddings n_positions block_size max_len max_seq_len max_seq_length seq_len sequence_length
        max_sequence_length n_ctx input_length
    """,
    "context": "block_size context_length context_size seq_len sequence_length n_ctx window_size bptt",
    "score": "attention_type attention_score score_function scoring",
    "mixer": "token_mixer sequence_mixer token_mixing",
    "position": """
        positional_encoding position_encoding pos_encoding position_embedding position_embedding_type pos_emb
        positional_embedding positions
    """,
    "rotary_base": "rope_theta rope_base rotary_emb_base theta",
    "rotary_scale": "rope_scaling rope_scale",
    "window": "sliding_window window_size attention_window local_window left_context",
    "norm": "norm_type normalization normalisation norm_class",
    "norm_placement": "norm_first prenorm pre_norm post_norm norm_position layer_norm_position",
    "norm_epsilon": "layer_norm_eps layer_norm_epsilon rms_norm_eps norm_eps eps epsilon",
    "activation": "hidden_act act activation_function act_fn nonlinearity",
    "bias": "use_bias qkv_bias add_bias",
    "dropout": """
        dropout_rate dropout_prob p_drop drop_rate hidden_dropout_prob attention_dropout attn_pdrop resid_pdrop
        embd_pdrop drop keep_prob attention_dropout_prob
    """,
    "tie_embeddings": "tie_word_embeddings tie_weights share_embeddings weight_tying tied_embeddings",
    "dtype": "precision compute_dtype torch_dtype mixed_precision bf16 fp16 half",
    "kernels": "flash flash_attention use_flash attn_implementation implementation sdpa",
    "remat": "gradient_checkpointing checkpointing activation_checkpointing use_remat rematerialize",
    "query_key_norm": "qk_norm qk_layernorm use_qk_norm",
    "soft_cap": "softcap logit_softcap attn_logit_softcapping attn_logit_soft_cap logits_soft_cap",
    "sink": "attention_sink add_zero_attn softmax_off_by_one sinks",
    "differential": "diff_attention differential_attention",
    "types": "type_vocab_size token_types num_token_types segment_vocab_size",
    "classes": "num_labels num_classes n_classes n_labels",
    "reads": "pooling pool pooler classifier_pooling",
    "buckets": "relative_attention_num_buckets",
    "max_distance": "relative_attention_max_distance",
    "cell": "rnn_type cell_type rnn_cell rnn",
    "architecture": "arch model_type model_name type",
    "learning_rate": "lr peak_lr max_lr peak_value init_value base_lr step_size peak_learning_rate alpha eta",
    "schedule": "lr_schedule lr_scheduler scheduler lr_scheduler_type decay learning_rate_schedule",
    "warmup_steps": "warmup num_warmup_steps warmup_iters n_warmup_steps warmup_ratio warm_up",
    "final_fraction": "min_lr end_value final_lr lr_end min_learning_rate min_lr_ratio final_div_factor",
    "decay_fraction": "decay_steps cooldown cooldown_fraction",
    "weight_decay": "wd l2 weight_decay_rate decoupled_weight_decay",
    "beta1": "b1 adam_beta1 betas momentum beta_1",
    "beta2": "b2 adam_beta2 betas beta_2 decay_rate",
    "epsilon": "eps adam_epsilon adam_eps",
    "clip_norm": """
        grad_clip max_grad_norm gradient_clip gradient_clip_val clipnorm clip grad_norm_clip gradient_clipping
        clip_grad_norm max_norm global_clipnorm
    """,
    "steps": """
        epochs num_epochs num_train_epochs max_steps train_steps num_steps total_steps max_iters iterations n_epochs
        training_steps num_train_steps updates max_epochs
    """,
    "batch_size": "bs batch train_batch_size per_device_train_batch_size global_batch_size minibatch_size",
    "batch_tokens": "max_tokens tokens_per_batch batch_size_tokens",
    "accumulation": """
        gradient_accumulation_steps grad_accum accumulate_grad_batches gradient_accumulation accum_steps
        grad_accumulation every_k_schedule microbatches
    """,
    "label_smoothing": "smoothing label_smoothing_factor",
    "ema_decay": "ema polyak ema_rate use_ema ema_momentum",
    "initial_scale": "initializer_range init_std init_scale initializer_scale gain",
    "average_last": "swa checkpoint_averaging average_checkpoints",
    "patience": "early_stopping early_stopping_patience",
    "log_every": "logging_steps log_interval log_steps log_freq logging_interval",
    "evaluate_every": "eval_steps eval_interval eval_every val_check_interval validation_freq eval_freq",
    "checkpoint_seconds": "save_interval checkpoint_every checkpoint_interval",
    "keep_last": "save_total_limit max_to_keep keep_checkpoints",
    "keep_every": "save_steps keep_period",
    "best": "metric_for_best_model monitor best_metric",
    "tensorboard": "report_to logger tb",
    "validation_share": "validation_split val_fraction val_split validation_size valid_split",
    "test_share": "test_split test_size test_fraction",
    "validation_path": "validation_file val_path valid_path dev_path val_file",
    "test_path": "test_file",
    "path": "train_file data_path dataset dataset_path data_dir train_path file filename",
    "source_path": "src source_file src_path train_src",
    "target_path": "tgt target_file tgt_path train_tgt",
    "source_field": "src_field source_column",
    "target_field": "tgt_field target_column",
    "text_field": "text_column",
    "label_field": "label_column",
    "examples": "num_examples n_examples num_samples train_size dataset_size n_train",
    "num_buckets": "bucketing n_buckets",
    "length_multiple": "pad_to_multiple_of",
    "too_long": "truncation truncate",
    "mask_rate": "mlm_probability mask_prob masking_rate mask_probability noise_density",
    "mean_span": "mean_noise_span_length span_length mean_span_length",
    "shared": "share_vocab joint_vocab joint_dictionary share_dictionary",
    "max_new_tokens": "max_gen_len max_tokens max_generation_length max_output_length num_tokens max_length",
    "strategy": "do_sample decoding sampler sampling_method",
    "top_k": "k",
    "top_p": "nucleus p nucleus_p",
    "temperature": "temp t tau",
    "seed": "random_seed rng_seed rng random_state manual_seed prng_seed",
    "objective": "loss objective_name pretraining_objective",
    "name": "kind type task_name",
    "workdir": "output_dir out_dir logdir log_dir save_dir checkpoint_dir out run_dir model_dir",
    "config": "recipe cfg config_file config_path",
    "input": "text prompt source sentence query",
    "checkpoint": "ckpt step",
    "trials": "n_trials num_trials max_trials",
    "workers": "num_workers n_workers n_jobs jobs",
    # Entries of a batch
    "source": "input_ids inputs src encoder_input_ids input_tokens tokens",
    "target": "decoder_input_ids input_ids inputs tgt decoder_input_tokens tokens",
    "source_lengths": "attention_mask src_lengths lengths input_lengths src_key_padding_mask padding_mask",
    "target_lengths": "decoder_attention_mask tgt_lengths attention_mask lengths tgt_key_padding_mask padding_mask",
    "source_segments": "segment_ids segments document_ids",
    "target_segments": "segment_ids segments document_ids",
    "source_types": "token_type_ids token_types type_ids",
    "labels": "targets target_ids",
    "loss_weights": "loss_mask weights sample_weight",
    # Values
    "rotary": "rope rotary_embedding roformer",
    "rotary_linear": "linear position_interpolation linear_scaling rope_linear",
    "rotary_llama3": "llama3 llama3_rope rope_llama3",
    "rotary_yarn": "yarn yarn_rope rope_yarn",
    "sinusoidal": "sin sine sincos fixed fourier cosine",
    "learned": "absolute learnable trainable table",
    "relative": "t5 relative_bias relative_position_bias bucketed",
    "pre": "prenorm pre_norm pre_ln preln first norm_first pre_layer_norm",
    "post": "postnorm post_norm post_ln postln last post_layer_norm",
    "sandwich": "pre_post both peri",
    "rms": "rmsnorm rms_norm",
    "rms_plus_one": "gemma_rms_norm gemma_rmsnorm rms_norm_plus_one",
    "layer": "layernorm layer_norm ln",
    "gelu_tanh": "gelu_new gelu_approx gelu_fast gelu_pytorch_tanh approximate_gelu",
    "silu": "swish",
    "swiglu": "silu_glu swish_glu gated_silu",
    "geglu": "gelu_glu gelu_gated",
    "geglu_tanh": "gated_gelu",
    "scaled_dot": """
        scaled_dot_product dot_product dotproduct scaled_dot_product_attention softmax standard vanilla sdpa
    """,
    "dot": "luong",
    "fixed_dot": "query_pre_attn_scalar fixed_scaled_dot",
    "bilinear": "general multiplicative",
    "additive": "bahdanau concat mlp tanh",
    "fast": "flash sdpa flash_attention fused cudnn xla",
    "plain": "eager math naive reference",
    "bfloat16": "bf16 half float16 fp16 mixed",
    "float32": "fp32 f32 float single full",
    "adamw": "adam",
    "sgd": "momentum nesterov",
    "inverse_sqrt": "rsqrt noam inverse_square_root inv_sqrt",
    "wsd": "trapezoidal warmup_stable_decay trapezoid",
    "cosine": "cosine_decay cosine_annealing warmup_cosine cos warmup_cosine_decay_schedule cosine_with_warmup",
    "linear": "linear_decay linear_with_warmup polynomial",
    "constant": "constant_with_warmup none flat fixed",
    "greedy": "argmax max deterministic",
    "sampling": "sample random multinomial stochastic nucleus top_k top_p temperature",
    "encoder_only": "encoder bert mlm",
    "decoder_only": "decoder gpt causal gpt2 llama autoregressive",
    "seq2seq": "encoder_decoder enc_dec t5 transformer bart",
    "rnn_seq2seq": "rnn lstm gru",
    "text_to_text": "translation seq2seq text2text mt",
    "language_modelling": "language_modeling lm causal_lm language_model modelling pretraining",
    "classification": "sequence_classification text_classification classify classifier",
    "causal": "clm autoregressive lm next_token",
    "masked": "mlm bert masked_lm",
    "span": "span_corruption t5 denoising",
    "characters": "char chars character",
    "bytes": "byte byt5",
    "words": "word whitespace",
    "bpe": "byte_pair sentencepiece unigram subword wordpiece gpt2 subwords",
    "file": "huggingface hf tokenizer.json pretrained tokenizers",
    "none": "nope off no",
    "mean": "avg average",
    "max": "maximum",
    "first": "cls",
    "true": "yes on y",
    "false": "no off n",
}
"""Name here -> its names elsewhere."""

SYNONYMS: dict[str, tuple[str, ...]] = {}
"""Name elsewhere -> the names that it may stand for here."""

for _name, _words in OURS.items():
    for _word in _words.split():
        SYNONYMS[_word] = (*SYNONYMS.get(_word, ()), _name)
