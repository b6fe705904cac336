"""Language models: packed rows as rows alone, losses as transformers', labels by their likelihood, greedy decoding."""

import json

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from lorabound.adapters import new_adapter, save_adapter
from lorabound.data import Dialogue, Turn
from lorabound.engine import Examples, Recipe, WithPrefix, evaluate, train
from lorabound.engine.layout import cut, layout
from lorabound.errors import DataError, InputError, ModelError
from lorabound.models.causal import load_causal
from lorabound.models.packing import PackedRows, Row
from lorabound.models.rendering import TooLong
from lorabound.models.token_losses import token_losses
from lorabound.stack import Stack, select_linears
from tests.decoder_models import CHAT_TEMPLATE, SAVE, STOP, save_decoder, save_gpt2, save_llama

WORDS = ["the", "room", "was", "lovely", "house", "cat", "dog", "water", "bread", "maison", "chat", "chien"]
LABELS = ["the room", "cat", "bread"]


def chats(n, chat=True, seed=0):
    """n dialogues of several lengths, half of the chats with two answers."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(n):
        said = [" ".join(random.choice(WORDS, random.integers(1, 5))) for _ in range(4)]
        if chat:
            turns = [Turn("user", said[0]), Turn("assistant", said[1])]
            turns += [Turn("user", said[2]), Turn("assistant", said[3])] if number % 2 else []
            made.append(Dialogue(tuple(turns), True))
        else:
            made.append(Dialogue((Turn("prompt", f"say {said[0]}"), Turn("completion", f" {said[1]}")), False))
    return made


@pytest.fixture(scope="module", params=SAVE)
def decoder(request, tmp_path_factory):
    """(folder, model that completes, dialogues it can read)."""
    folder = SAVE[request.param](tmp_path_factory.mktemp(request.param))
    return folder, load_causal(str(folder), [], "", device="cpu"), chats(13, chat=request.param in ("llama", "qwen2"))


@torch.no_grad()
def losses_alone(module, rows):
    """(n, 4) of rows that go through transformers' model one by one: mean -ln p, whether a token is wrong, mean 1 - p,
    share of wrong tokens."""
    found = []
    for row in rows:
        scores = module(torch.tensor([list(row.ids)])).logits[0].double().log_softmax(-1)
        at = np.flatnonzero(row.learnt)
        log_p = np.array([float(scores[i - 1, row.ids[i]]) for i in at])
        wrong = np.array([int(scores[i - 1].argmax()) != row.ids[i] for i in at])
        found.append((-log_p.mean(), wrong.any(), (1 - np.exp(log_p)).mean(), wrong.mean()))
    return np.array(found)


def rows_of(model, dialogues):
    return [model._reader._row(model._reader._pieces(one), chat=one.chat) for one in dialogues]


def test_losses_of_packed_rows_are_those_of_rows_alone(decoder):
    folder, model, dialogues = decoder
    packed = model.prepare(dialogues)
    expected = losses_alone(transformers.AutoModelForCausalLM.from_pretrained(folder), rows_of(model, dialogues))
    found = evaluate(model, packed, np.zeros(len(packed), dtype=np.int64), tokens_per_pass=60)[0]
    assert packed.n_shared > 0  # a system prompt, or "say"
    assert np.allclose(found.log_losses, expected[:, 0], atol=2e-5)
    assert np.array_equal(found.errors, expected[:, 1].astype(bool))
    assert np.allclose(found.misses, expected[:, 2], atol=1e-5)
    assert np.allclose(found.wrong, expected[:, 3], atol=1e-6)
    assert found.risk == pytest.approx(expected[:, 2].mean(), abs=1e-5)


def test_what_is_learnt_is_what_the_assistant_says_and_the_end_of_its_turn(decoder):
    folder, model, dialogues = decoder
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for one, row in zip(dialogues, rows_of(model, dialogues), strict=True):
        learnt = [token for token, wanted in zip(row.ids, row.learnt, strict=True) if wanted]
        end = tokenizer.eos_token
        answers = [turn.content for turn in one.turns if turn.role in ("assistant", "completion")]
        assert tokenizer.decode(learnt) == "".join(answer + end for answer in answers)
        if one.chat:
            whole = tokenizer.apply_chat_template([vars(turn) for turn in one.turns], tokenize=False)
            assert tokenizer.decode(row.ids) == whole


@pytest.mark.parametrize("layers", ["top2", [1, 3]])
def test_adapters_in_a_stack_train_as_alone_with_and_without_a_stored_prefix(decoder, layers):
    _, model, dialogues = decoder
    examples = Examples(model.prepare(dialogues), np.zeros(len(dialogues), dtype=np.int64))
    shapes = select_linears(model.module, ["all-linear"], layers)
    modes = ("freeze_a", "train_both", "freeze_b")
    adapters = [new_adapter(shapes, rank + 1, mode, rank, "kaiming_uniform", 2.0) for rank, mode in enumerate(modes)]
    recipe = Recipe(epochs=2, batch_size=4, lr=0.02)

    def trained(classifier, adapters, seeds, tokens=2048):
        return train(classifier, examples, examples, adapters, seeds, recipe, tokens_per_pass=tokens)

    alone = [trained(model, [one], [seed])[0] for seed, one in enumerate(adapters)]
    with WithPrefix(model, list(shapes), [examples.inputs]) as stored:
        assert stored.n_bytes > 0
        stacked = trained(stored, adapters, [0, 1, 2], tokens=150)
    for one, other in zip(alone, stacked, strict=True):
        assert not one.diverged
        assert np.allclose(one.test.log_losses, other.test.log_losses, atol=5e-4)
        assert np.allclose(one.first_pass.log_losses, other.first_pass.log_losses, atol=5e-4)
        assert one.test.cross_entropy < one.first_pass.log_losses.mean() - 0.05  # it has learnt something


def test_peft_loads_a_trained_adapter_to_the_same_scores(decoder, tmp_path):
    from peft import PeftModel

    folder, model, dialogues = decoder
    examples = Examples(model.prepare(dialogues), np.zeros(len(dialogues), dtype=np.int64))
    shapes = select_linears(model.module, ["all-linear"], "top2")
    adapter = new_adapter(shapes, 3, "train_both", 0, "kaiming_uniform", 2.0)
    (result,) = train(model, examples, examples, [adapter], [0], Recipe(epochs=2, batch_size=4, lr=0.02))
    save_adapter(result.adapter, tmp_path / "adapter", str(folder), type(model.module))
    base = transformers.AutoModelForCausalLM.from_pretrained(folder)
    peft = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert peft.peft_config["default"].task_type == "CAUSAL_LM"
    expected = losses_alone(peft, rows_of(model, dialogues))
    assert np.allclose(result.test.log_losses, expected[:, 0], atol=1e-4)


def test_the_gradient_is_that_of_the_mean_over_all_tokens_of_a_step(decoder):
    _, model, dialogues = decoder
    packed = model.prepare(dialogues)
    shapes = select_linears(model.module, ["all-linear"], "top2")
    adapter = new_adapter(shapes, 2, "freeze_a", 0, "gaussian", 2.0)
    # B = 0 at the start, so the gradient of B is scale x (gradient of the output)' (A x): by transformers and autograd.
    with Stack(model.module, [adapter], model.towers) as stack:
        from lorabound.engine.train import _add_gradients

        index = np.argsort(packed.lengths, kind="stable")[None]
        _add_gradients(model, Examples(packed, np.zeros(13, dtype=np.int64)), index, 100)
        ours = {name: layer.trained_b.grad[0].clone() for name, layer in stack.layers.items()}
    module = model.module
    kept = {}
    hooks = []
    for name in shapes:

        def keep(_, args, out, name=name):
            kept.setdefault(name, []).append((args[0].detach(), out))
            out.requires_grad_() if not out.requires_grad else None
            out.retain_grad()

        hooks.append(module.get_submodule(name).register_forward_hook(keep))
    total, count = 0.0, 0
    for row in rows_of(model, dialogues):
        scores = module(torch.tensor([list(row.ids)])).logits[0].log_softmax(-1)
        at = np.flatnonzero(row.learnt)
        total = total - scores[at - 1, np.array(row.ids)[at]].sum()
        count += len(at)
    (total / count).backward()
    for hook in hooks:
        hook.remove()
    for name, factors in adapter.layers.items():
        a = torch.from_numpy(factors.a)
        expected = sum(out.grad[0].T @ (x[0] @ a.T) for x, out in kept[name] if out.grad is not None) * factors.scale
        assert torch.allclose(ours[name], expected, atol=1e-5 * float(expected.abs().max()) + 1e-7), name


@torch.no_grad()
def test_labels_are_scored_by_the_likelihood_of_their_strings(decoder):
    folder, _, _ = decoder
    model = load_causal(str(folder), LABELS, "say {}", device="cpu")
    texts = [" ".join(WORDS[i : i + 1 + i % 3]) for i in range(9)]
    rows = model.prepare(texts)
    scores = model.logits(rows, np.arange(9)).log_softmax(-1)
    reader = model._reader
    answers = reader.answers("say {}", LABELS)
    assert {len(answer) for answer in answers} != {1}  # some labels have several tokens
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder)
    for text, ours in zip(texts, scores, strict=True):
        prompt = list(reader._row(reader._prompt("say {}", text), chat=reader._has_template).ids)
        expected = []
        for answer in answers:
            log_p = plain(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            expected.append(sum(log_p[len(prompt) - 1 + i, token] for i, token in enumerate(answer)))
        assert torch.allclose(ours, torch.stack(expected).log_softmax(0), atol=1e-4)


def test_a_label_that_begins_another_is_ended(tmp_path):
    model = load_causal(str(save_gpt2(tmp_path / "m")), ["good", "good room", "bad"], "say {}", device="cpu")
    answers = model._reader.answers("say {}", ["good", "good room", "bad"])
    assert all(answer[-1] == model._reader._end for answer in answers)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=8), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_packed_token_sees_its_own_row_and_the_shared_beginning_alone(shapes, n_shared):
    """Against a mask made token by token, for one adapter and for two whose rows differ in length."""
    rows = [
        Row([*range(n_shared), 100 + number, *range(200, 199 + own)], branches=[[7] * k for k in range(branches)])
        for number, (own, branches) in enumerate(shapes)
    ]
    packed = PackedRows(rows)
    order = np.arange(len(rows))
    index = np.stack([order, order[::-1]])
    token, owner = packed.places(index)
    pack = packed.pack(index)
    seen = pack.seen.expand(2, -1, -1, -1)[:, 0].numpy()
    for k in range(2):
        for place in np.flatnonzero(owner[k] >= 0):
            row = rows[index[k, owner[k, place]]]
            before = [j for j in range(place + 1) if seen[k, place, j]]
            ids = pack.ids[k, before].tolist()
            own = packed.starts[index[k, owner[k, place]]]
            offset = token[k, place] - own + packed.n_shared
            if offset < len(row.ids):
                assert ids == list(row.ids[: offset + 1])
                assert int(pack.positions[k, place]) == offset
            else:
                beyond = offset - len(row.ids)
                branch = next(b for b in row.branches if (beyond := beyond - len(b)) < 0)
                done = len(branch) + beyond + 1
                assert ids == [*row.ids, *branch[:done]]
                assert int(pack.positions[k, place]) == len(row.ids) + done - 1
    assert packed.n_tokens == packed.n_shared + packed.lengths.sum()


def test_passes_of_packed_rows_are_full_and_hold_every_row_once():
    packed = PackedRows([Row([1, 2, 3, *range(10, 10 + n)]) for n in range(1, 30)])
    order = np.argsort(packed.lengths, kind="stable")
    for copies, most in ((1, 64), (3, 200), (2, 1)):
        index = np.tile(order, (copies, 1))
        parts = cut(packed, index, most)
        assert [i for part in parts for i in range(len(order))[part]] == list(range(len(order)))
        sizes = [layout(packed, index[:, part].reshape(-1), copies).token.size for part in parts]
        assert all(size <= most or part.stop - part.start == 1 for size, part in zip(sizes, parts, strict=True))
    assert len(cut(packed, order[None], 10**6)) == 1


def test_token_losses_are_those_of_cross_entropy_piece_by_piece(monkeypatch):
    monkeypatch.setattr("lorabound.models.token_losses._PIECE", {"cpu": 4 * 50 * 3})  # three tokens at once
    generator = torch.Generator().manual_seed(0)
    output = torch.nn.Linear(8, 50).requires_grad_(False)
    hidden = torch.randn(10, 8, generator=generator).requires_grad_()
    targets = torch.randint(0, 50, (10,), generator=generator)
    weights = torch.rand(10, generator=generator)
    losses, right = token_losses(hidden, output, targets)
    (gradient,) = torch.autograd.grad((losses * weights).sum(), hidden)
    expected = torch.nn.functional.cross_entropy(output(hidden), targets, reduction="none")
    (wanted,) = torch.autograd.grad((expected * weights).sum(), hidden)
    assert torch.allclose(losses, expected, atol=1e-6)
    assert torch.allclose(gradient, wanted, atol=1e-6)
    assert torch.equal(right, output(hidden).argmax(1) == targets)


def test_rows_that_are_too_long_are_refused_with_their_count(tmp_path):
    model = load_causal(str(save_llama(tmp_path / "m")), [], "", max_length=40, device="cpu")
    long = Dialogue((Turn("user", "water " * 30), Turn("assistant", "cat")), True)
    with pytest.raises(
        TooLong, match=r"1 of 3 examples have more than 40 tokens.*--max-length \d+.*--drop-long"
    ) as seen:
        model.prepare([*chats(1), long, *chats(1)])
    assert seen.value.examples == [long]


@pytest.mark.parametrize(
    ("save", "dialogue", "error", "message"),
    [
        (save_gpt2, chats(1)[0], DataError, "no chat template"),
        (save_llama, Dialogue((Turn("user", "cat"),), True), DataError, "1 of 1 examples have no token to learn"),
        (save_llama, Dialogue((Turn("prompt", "cat"),), False), DataError, "no token to learn"),
    ],
)
def test_dialogues_that_cannot_be_read_are_refused(tmp_path, save, dialogue, error, message):
    model = load_causal(str(save(tmp_path / "m")), [], "", device="cpu")
    with pytest.raises(error, match=message):
        model.prepare([dialogue])


@pytest.mark.parametrize(("template", "labels"), [("no place", LABELS), ("{} and {}", LABELS), ("say {}", ["a", "a"])])
def test_templates_and_labels_that_cannot_be_told_apart_are_refused(tmp_path, template, labels):
    with pytest.raises(InputError):
        load_causal(str(save_gpt2(tmp_path / "m")), labels, template, device="cpu")


_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 4}
_CHAT = {"pad": STOP, "eos": STOP, "chat": True}


@pytest.mark.parametrize(
    ("config", "options"),
    [(transformers.GraniteConfig, {"logits_scaling": 8.0}), (transformers.CohereConfig, {"logit_scale": 0.25})],
)
def test_scores_that_are_multiplied_by_a_number(tmp_path, config, options):
    """Granite divides its scores, Cohere multiplies them: losses and scores of labels are transformers'."""
    folder = save_decoder(tmp_path / "m", config, dict(_CHAT), _SIZES | options)
    module = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model = load_causal(str(folder), [], "", device="cpu")
    packed = model.prepare(dialogues := chats(5))
    found = evaluate(model, packed, np.zeros(5, dtype=np.int64))[0]
    assert np.allclose(found.log_losses, losses_alone(module, rows_of(model, dialogues))[:, 0], atol=2e-5)
    labels = load_causal(str(folder), LABELS, "say {}", device="cpu")
    with torch.no_grad():
        scores = labels.logits(labels.prepare(["cat"]), np.array([0])).log_softmax(-1)[0]
        prompt = labels._reader._row(labels._reader._prompt("say {}", "cat"), chat=True).ids
        likelihoods = []
        for answer in labels._reader.answers("say {}", LABELS):
            row = torch.tensor([[*prompt, *answer]])
            of_row = module(row).logits[0].log_softmax(-1)
            likelihoods.append(sum(of_row[len(prompt) - 1 + i, token] for i, token in enumerate(answer)))
    assert torch.allclose(scores, torch.stack(likelihoods).log_softmax(-1), atol=2e-5)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        # A state runs along the row, past the end of a packed one.
        (transformers.MambaConfig, {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}, "share a pass"),
        # Positions are counted from a mask of two axes.
        (transformers.BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 4}, "share a pass .*in a BloomForCausalLM"),
        (transformers.Gemma2Config, _SIZES | {"head_dim": 8}, r"\(final_logit_softcapping = 30\)"),
    ],
)  # fmt: skip
def test_a_model_whose_rows_cannot_be_packed_is_refused(tmp_path, config, options, message):
    folder = save_decoder(tmp_path / "m", config, dict(_CHAT), dict(options))
    with pytest.raises(ModelError, match=rf"{message}.*: choose another model, such as Llama 3") as caught:
        load_causal(str(folder), [], "", device="cpu")
    assert "tensor" not in str(caught.value)
    assert "unpack" not in str(caught.value)


def test_a_template_that_leaves_out_what_tools_answer_is_refused(tmp_path):
    """The template of save_llama writes every role; one that writes no turn of a tool would lose it without a word."""
    asked = Dialogue((Turn("user", "the room"), Turn("tool", "water"), Turn("assistant", "cat")), True)
    folder = save_llama(tmp_path / "m")
    assert "tool\nwater" in load_causal(str(folder), [], "", device="cpu")._reader._write(asked.turns)
    load_causal(str(folder), [], "", device="cpu").prepare([asked])
    silent = CHAT_TEMPLATE.replace(
        "{% for message in messages %}", "{% for message in messages if message['role'] != 'tool' %}"
    )
    (folder / "chat_template.jinja").write_text(silent)
    with pytest.raises(DataError, match="leaves out what tools answer"):
        load_causal(str(folder), [], "", device="cpu").prepare([asked])
    refusing = "{{ raise_exception('no tools here') }}"
    (folder / "chat_template.jinja").write_text(refusing)
    with pytest.raises(DataError, match=r"roles user, tool, assistant \(no tools here\): leave such rows out, or give"):
        load_causal(str(folder), [], "", device="cpu").prepare([asked])


def test_a_tokenizer_without_an_end_of_a_text_is_told_where_one_is_needed(tmp_path):
    folder = save_llama(tmp_path / "m")
    settings_ = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings_ | {"eos_token": None, "pad_token": None}))
    model = load_causal(str(folder), [], "", device="cpu")
    model.prepare(chats(2))  # a chat ends where its template says
    with pytest.raises(ModelError, match=r"names no end of a text, .*: set eos_token in tokenizer_config.json"):
        model.prepare(chats(2, chat=False))


def test_rows_stay_where_all_positions_are_scaled_alike(tmp_path):
    """Phi-3 of long contexts: one row beyond the original length would turn every row of its pass otherwise."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 4}
    scaling = {
        "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [2.0, 3.0, 4.0, 5.0],
    }  # fmt: skip
    lengths = {"max_position_embeddings": 128, "original_max_position_embeddings": 16}
    folder = save_decoder(tmp_path / "m", transformers.Phi3Config, {}, sizes | lengths | {"rope_parameters": scaling})
    assert load_causal(str(folder), [], "", device="cpu").limit.tokens == 16
