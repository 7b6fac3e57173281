"""The rollout's decoding against Hugging Face's own, on a random model of a few thousand parameters."""

# ruff: noqa: N806 (arrays carry their shapes: time x vocabulary)

import pytest

pytest.importorskip("torch")
pytest.importorskip("tokenizers")

import tiny_models
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.inside.decoding import Decoder, Request, Sampling, Source
from harness.inside.policies import character_tokenizer

pytestmark = pytest.mark.verl
GREEDY = Sampling(temperature=0)


def random_llama(folder, *, tied=False):
    tokenizer = character_tokenizer()
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        initializer_range=0.3,
        tie_word_embeddings=tied,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def loaded(folder, **source):
    return Decoder(Source(model=str(folder), tokenizer=str(folder), **source), dtype=torch.float32)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    random_llama(folder)
    return loaded(folder)


def requests(decoder, *, sampling, seeds=(1, 2, 3), limit=12):
    prompts = [(2, 5, 9), (2, 7, 8, 14, 6), (2, 11)]
    return [Request(prompt=prompt, limit=limit, seed=seed, sampling=sampling) for prompt, seed in zip(prompts, seeds, strict=True)]


def tokens(answers):
    return [answer.tokens for answer in answers]


def test_greedy_batch_equals_generate_of_each_prompt_alone(decoder):
    answers = decoder.decode(requests(decoder, sampling=GREEDY))
    for request, answer in zip(requests(decoder, sampling=GREEDY), answers, strict=True):
        prompt = torch.tensor([request.prompt])
        reference = decoder.model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=request.limit, do_sample=False)
        assert answer.tokens == reference[0, len(request.prompt) :].tolist()


def test_log_probs_are_those_of_one_forward_pass(decoder):
    request = requests(decoder, sampling=Sampling(temperature=0.7))[1]
    answer = decoder.decode([request])[0]
    logits_TV = decoder.model(torch.tensor([[*request.prompt, *answer.tokens]])).logits[0, len(request.prompt) - 1 : -1].float() / 0.7
    expected_T = logits_TV.log_softmax(-1).gather(1, torch.tensor(answer.tokens)[:, None])[:, 0]
    assert answer.log_probs == pytest.approx(expected_T.tolist(), abs=1e-4)


def test_same_seeds_give_the_same_answers_whatever_the_neighbours(decoder):
    sampling = Sampling(temperature=1.0)
    together = tokens(decoder.decode(requests(decoder, sampling=sampling)))
    alone = [tokens(decoder.decode([request]))[0] for request in requests(decoder, sampling=sampling)]
    others = tokens(decoder.decode(requests(decoder, sampling=sampling, seeds=(7, 8, 9))))
    assert together == alone
    assert together != others


@pytest.mark.parametrize("sampling", [Sampling(top_k=1), Sampling(top_p=1e-6)])
def test_narrowest_sampling_is_greedy(decoder, sampling):
    assert tokens(decoder.decode(requests(decoder, sampling=sampling))) == tokens(decoder.decode(requests(decoder, sampling=GREEDY)))


def test_answers_end_at_their_limit_or_their_end_token(decoder):
    for answer in decoder.decode(requests(decoder, sampling=Sampling(temperature=2.0), limit=5)):
        assert answer.stop == ("completed" if answer.tokens[-1] in decoder.ends else "length")
        assert len(answer.tokens) <= 5


def test_abort_cuts_answers_short_between_two_tokens(decoder):
    said = iter([False, False, True])
    answers = decoder.decode(requests(decoder, sampling=GREEDY), aborted=lambda: next(said))
    assert all(len(answer.tokens) <= 2 for answer in answers)
    assert any(answer.stop == "aborted" for answer in answers)


def test_sync_with_a_missing_tensor_is_refused_and_the_next_whole_one_is_not(decoder):
    weights = {name: tensor.clone() for name, tensor in decoder.model.state_dict().items()}
    left_out = weights.pop("model.norm.weight")
    decoder.load(weights)
    with pytest.raises(ValueError, match=r"1 of \d+ tensors were not delivered, model\.norm\.weight among them"):
        decoder.close_sync()
    decoder.load(weights)
    decoder.load({"model.norm.weight": left_out})
    decoder.close_sync()


def test_of_two_tied_tensors_one_is_delivered_and_is_both(tmp_path):
    random_llama(tmp_path, tied=True)
    decoder = loaded(tmp_path)
    weights = {name: tensor + 1 for name, tensor in decoder.model.state_dict().items()}
    head = weights.pop("lm_head.weight")
    decoder.load(weights)
    decoder.close_sync()
    assert torch.equal(decoder.model.lm_head.weight, head)
    del weights["model.embed_tokens.weight"]
    decoder.load(weights)
    with pytest.raises(ValueError, match=r"model\.embed_tokens\.weight among them"):
        decoder.close_sync()


def test_a_model_with_code_of_its_own_answers_alike_alone_and_among_others(tmp_path):
    tiny_models.wren(tmp_path)
    decoder = loaded(tmp_path, remote_code=True)
    together = tokens(decoder.decode(requests(decoder, sampling=GREEDY)))
    assert together == [tokens(decoder.decode([request]))[0] for request in requests(decoder, sampling=GREEDY)]
