"""Dialogues sampled by a real engine: what is in their token streams, what their branches share, what is asked together."""

import copy
from collections import Counter
from dataclasses import replace
from itertools import groupby

import pytest
import torch
from probed_problems import DIALOGUE, probe, probed
from transformers import Qwen2Config, Qwen2ForCausalLM

from rl_distill.batch import collate
from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.models.logprobs import policy_output
from rl_distill.models.vocabulary import arithmetic_tokenizer, byte_bpe_tokenizer
from rl_distill.probes import probes_to_plain
from rl_distill.rewards import Accuracy
from rl_distill.rollout.collector import Prompter
from rl_distill.rollout.dialogue import DialogueConfig, drawn_probes
from rl_distill.rollout.engine import Sampling
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.rollout.inline_sampler import InlineSampler
from rl_distill.rollout.interview import Interviewer
from rl_distill.text import PromptFormat, encode_prompt
from rl_distill.training.cursor import Cursor
from rl_distill.training.dialogue_rounds import DialogueRounds
from rl_distill.trajectory import Message, Sample

PROBLEMS = probed(4)
TOKENIZER = arithmetic_tokenizer()
BRANCHES = DIALOGUE["branches"]
SIZE, GROUP, PROBES = 3, 2, DIALOGUE["num_probes"]


class Counting(HfEngine):
    """A real engine that remembers the requests of each call."""

    def generate(self, requests):
        self.calls = [*getattr(self, "calls", []), list(requests)]
        return super().generate(requests)


def policy(vocabulary: int = 48, context: int = 256):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    made = Qwen2Config(
        vocab_size=vocabulary, **sizes, num_key_value_heads=2, max_position_embeddings=context, initializer_range=0.2
    )
    return Qwen2ForCausalLM(made).eval()


MODEL = policy()


def rounds(
    *,
    model=MODEL,
    tokenizer=TOKENIZER,
    problems=PROBLEMS,
    context: int = 256,
    size: int = SIZE,
    system: str | None = None,
    lessons: bool = False,
    shard_size: int = 512,
    max_tokens: int = 8,
    **changes,
) -> DialogueRounds:
    prompter = Prompter(tokenizer=tokenizer, format=PromptFormat(system=system), max_context=context)
    settings = parse(DialogueConfig, DIALOGUE | changes)
    interviewer = Interviewer(prompter=prompter, settings=settings, max_tokens=max_tokens, lessons=lessons)
    sampling = Sampling(max_tokens=max_tokens)
    prompts = prompter.prompts(interviewer.askable(problems, "problems"), sampling, field="problems", verifiers=[Accuracy()])
    engine = Counting(
        copy.deepcopy(model), tokenizer, HfEngineConfig(device="cpu", shard_size=shard_size), name="policy", version=7
    )
    return DialogueRounds(
        prompts,
        InlineSampler(engine),
        sampling,
        interviewer,
        address=(0, "grpo"),
        cursor=Cursor(len(prompts), 0, shuffle=True),
        size=size,
        group_size=GROUP,
    )


def only(**branches):
    """Settings with these branches and no others."""
    plain = parse(DialogueConfig, {})
    partial = DIALOGUE["num_partial"] if "partial" in branches else plain.num_partial
    return {"branches": branches, "num_partial": partial, "blank_reply": "", "think_longer": plain.think_longer}


@pytest.fixture(scope="module")
def made() -> DialogueRounds:
    return rounds()


@pytest.fixture(scope="module")
def groups(made):
    return made.take(0)


def attempts(groups, context, control=None):
    found = [t for group in groups for t in group.trajectories if t.context == context and t.origin == "policy"]
    return [t for t in found if control is None or t.control == control]


def turns_of(trajectory):
    """(sampled, tokens) of each run of tokens."""
    runs = groupby(zip(trajectory.sampled, trajectory.token_ids, strict=True), key=lambda pair: pair[0])
    return [(own, tuple(token for _, token in run)) for own, run in runs]


def is_plain(trajectory, tokenizer=TOKENIZER) -> bool:
    """Whether nobody said a special token within a turn, as an untrained student may: no text shows it."""
    start, end = tokenizer.convert_tokens_to_ids("<|im_start|>"), tokenizer.eos_token_id
    counts, messages = Counter(trajectory.token_ids), len(trajectory.messages)
    cut = trajectory.token_ids[-1] != end
    return counts[start] == messages and counts[end] == messages - cut and not counts[tokenizer.pad_token_id]


def test_a_group_holds_its_dialogues_first_and_then_the_branches_of_each(groups):
    for group in groups:
        found = [(t.context, t.dialogue, t.control) for t in group.trajectories]
        assert found[:GROUP] == [("full", number, False) for number in range(GROUP)]
        branches = [
            *[("partial", False), ("direct", False), ("full", True), ("full", True)],
            *[("blanked", True), ("shuffled", True), ("think_longer", True)],
        ]
        assert found[GROUP:] == [(context, number, control) for number in range(GROUP) for context, control in branches]


def test_the_stream_is_the_conversation_as_the_template_prints_it(groups):
    looked = 0
    for trajectory in (t for group in groups for t in group.trajectories if is_plain(t)):
        rendered = TOKENIZER.apply_chat_template([m._asdict() for m in trajectory.messages], tokenize=False)
        expected = tuple(TOKENIZER.encode(rendered, add_special_tokens=False))
        assert trajectory.token_ids == expected[: len(trajectory.token_ids)]
        assert len(expected) - len(trajectory.token_ids) <= 1  # an answer that was cut off has no end of turn
        looked += 1
    assert looked > 10


@pytest.mark.parametrize("system", [None, "be brief"])
def test_the_stream_is_the_conversation_of_a_tokenizer_that_spells_every_blank_too(system):
    tokenizer = byte_bpe_tokenizer([group.problem.prompt for group in PROBLEMS], 300)
    model = policy(len(tokenizer), 1024)
    model.lm_head = says_only(model.lm_head, [*tokenizer.encode("0123456789 ab\n"), tokenizer.eos_token_id])
    made = rounds(model=model, tokenizer=tokenizer, context=1024, system=system, size=2)
    for trajectory in (t for group in made.take(0) for t in group.trajectories):
        text = tokenizer.decode(trajectory.token_ids)
        rendered = tokenizer.apply_chat_template([m._asdict() for m in trajectory.messages], tokenize=False)
        assert rendered.startswith(text) and rendered[len(text) :] in ("\n", "<|im_end|>\n")
        assert (trajectory.messages[0].role == "system") == (system is not None)


def says_only(head, allowed):
    """An output layer that gives other tokens no chance."""
    bias = torch.full((head.out_features,), -1e4)
    bias[allowed] = 0.0
    made = torch.nn.Linear(head.in_features, head.out_features)
    made.weight, made.bias = head.weight, torch.nn.Parameter(bias)
    return made.eval()


def test_only_what_the_student_chose_is_sampled(made, groups):
    (answers,) = [call for call in made.sampler.engine.calls if len(call) == SIZE * GROUP * (1 + sum(BRANCHES.values()))]
    prompts = {request.seed: request for request in answers}
    runs = {"full": PROBES + 1, "partial": 2, "direct": 1, "blanked": 1, "shuffled": 1, "think_longer": PROBES + 1}
    for trajectory in (t for group in groups for t in group.trajectories):
        assert trajectory.token_ids[: len(prompts[trajectory.seed].token_ids)] == prompts[trajectory.seed].token_ids
        own = [tokens for mine, tokens in turns_of(trajectory) if mine]
        assert len(own) == runs[trajectory.context]
        for tokens, limit in zip(own, [DIALOGUE["reply_tokens"]] * (len(own) - 1) + [8], strict=True):
            assert len(tokens) <= limit and TOKENIZER.eos_token_id not in tokens[:-1]
        unsampled = zip(trajectory.sampled, trajectory.behavior_logprobs, trajectory.policy_versions, strict=True)
        assert all((value < 0 and version == 7) if mine else value == version == 0 for mine, value, version in unsampled)


def test_behavior_logprobs_are_those_of_one_pass_over_the_whole_stream(groups):
    samples = [Sample(trajectory=t) for group in groups for t in group.trajectories]
    batch = collate(samples, pad_id=0, sources=("",))
    with torch.no_grad():
        seen = policy_output(MODEL, batch.token_ids, batch.attention_mask, batch.loss_mask, temperature=1.0, chunk_tokens=512)
    gap = ((seen.logprobs - batch.behavior_logprobs) * batch.loss_mask).abs().max()
    assert batch.loss_mask.sum() > 500 and gap < 1e-4


def dialogue_of(groups, trajectory):
    """The dialogue's own attempt, which a branch belongs to."""
    group = next(group for group in groups if trajectory in group.trajectories)
    return group, group.trajectories[trajectory.dialogue]


def test_a_partial_branch_shares_exactly_the_first_turns(groups):
    for branch in attempts(groups, "partial"):
        group, whole = dialogue_of(groups, branch)
        assert branch.messages[:2] == whole.messages[:2] and branch.messages[2] == Message("user", group.problem.prompt)
        shared = len(encode_prompt(TOKENIZER, branch.messages[:1])) + len(turns_of(branch)[1][1])
        for column in ("token_ids", "sampled", "behavior_logprobs", "policy_versions"):
            assert getattr(branch, column)[:shared] == getattr(whole, column)[:shared]
        assert branch.metadata["rules"] == whole.metadata["rules"][:1]


def test_a_further_answer_follows_the_same_finished_dialogue(groups):
    for branch in attempts(groups, "full", control=True):
        _, whole = dialogue_of(groups, branch)
        prompt = len(branch.token_ids) - len(branch.response_ids)
        assert branch.token_ids[:prompt] == whole.token_ids[:prompt] and branch.messages[:-1] == whole.messages[:-1]
        assert branch.seed != whole.seed


def test_a_direct_branch_is_the_problem_alone(groups):
    for branch in attempts(groups, "direct"):
        group, _ = dialogue_of(groups, branch)
        assert branch.messages[:-1] == (Message("user", group.problem.prompt),)
        assert branch.token_ids[: -len(branch.response_ids)] == encode_prompt(TOKENIZER, branch.messages[:-1])


def test_a_blanked_branch_has_the_probes_and_nothing_that_the_student_said(groups):
    for branch in attempts(groups, "blanked"):
        _, whole = dialogue_of(groups, branch)
        assert [m for m in branch.messages[:-1] if m.role == "user"] == [m for m in whole.messages if m.role == "user"]
        assert [m.content for m in branch.messages[:-1] if m.role == "assistant"] == [DIALOGUE["blank_reply"]] * PROBES
        assert sum(branch.sampled) == len(branch.response_ids)


def test_a_shuffled_branch_has_the_replies_from_the_next_problem_in_order(groups):
    for place, group in enumerate(groups):
        for branch in attempts([group], "shuffled"):
            whole, lender = group.trajectories[branch.dialogue], groups[(place + 1) % SIZE].trajectories[branch.dialogue]
            assert [m for m in branch.messages if m.role == "user"] == [m for m in whole.messages if m.role == "user"]
            said, theirs = ([m for m in t.messages if m.role == "assistant"][:-1] for t in (branch, lender))
            assert said == theirs
            own = [tokens for mine, tokens in turns_of(lender) if mine][:-1]
            stream = "".join(f",{token}" for token in branch.token_ids)
            assert all("".join(f",{token}" for token in tokens) in stream for tokens in own)
            assert sum(branch.sampled) == len(branch.response_ids)


def test_a_problem_that_comes_twice_in_a_step_lends_itself_no_replies():
    made = rounds(problems=PROBLEMS[:2])
    groups = made.take(0)
    assert len({group.problem.id for group in groups}) == 2 < len(groups)
    for group in groups:
        others = [other for other in groups if other.problem.id != group.problem.id]
        for branch in attempts([group], "shuffled"):
            lenders = [[m for m in other.trajectories[branch.dialogue].messages if m.role == "assistant"] for other in others]
            assert [m for m in branch.messages if m.role == "assistant"][:-1] in [said[:-1] for said in lenders]


def test_thinking_longer_takes_at_most_as_many_tokens_as_each_reply(groups):
    for branch in attempts(groups, "think_longer"):
        group, whole = dialogue_of(groups, branch)
        thoughts, replies = ([len(tokens) for mine, tokens in turns_of(t) if mine][:-1] for t in (branch, whole))
        assert len(thoughts) == PROBES and all(thought <= reply for thought, reply in zip(thoughts, replies, strict=True))
        assert [m.content for m in branch.messages if m.role == "user"][:-1] == [f"why {group.problem.prompt}"] * PROBES


def test_turn_t_of_all_dialogues_is_one_call_and_so_are_all_answers(made, groups):
    number = SIZE * GROUP
    calls = made.sampler.engine.calls
    assert [len(call) for call in calls] == [number] * PROBES + [number] * PROBES + [number * (1 + sum(BRANCHES.values()))]
    assert sum(map(len, calls)) == number * made.settings.turns_per_dialogue == made.report()["dialogue/turns"]
    assert [line["round"] for line in made.schedule] == list(range(2 * PROBES + 1))


def test_a_dialogue_and_a_partial_branch_cost_what_the_formula_says():
    made = rounds(**only(partial=1))
    made.take(0)
    assert sum(map(len, made.sampler.engine.calls)) == SIZE * (GROUP * (PROBES + 1) + GROUP)


def test_tokens_are_counted_once_however_many_branches_share_them(made, groups):
    replies = [tokens for t in attempts(groups, "full", control=False) for mine, tokens in turns_of(t)[:-1] if mine]
    thoughts = [tokens for t in attempts(groups, "think_longer") for mine, tokens in turns_of(t)[:-1] if mine]
    answers = [t.response_ids for group in groups for t in group.trajectories]
    assert made.generated_tokens == sum(map(len, (*replies, *thoughts, *answers)))
    assert made.report()["dialogue/reply_tokens"] == sum(map(len, replies)) / len(replies)
    cut = [tokens for tokens in replies if tokens[-1] != TOKENIZER.eos_token_id]
    assert made.report()["dialogue/truncated_replies"] == len(cut) > 0


def test_seeds_and_probes_are_those_of_the_address_and_no_two_requests_share_a_seed(made, groups):
    again = rounds()
    assert again.take(0) == groups
    seeds = Counter(request.seed for call in made.sampler.engine.calls for request in call)
    assert set(seeds.values()) == {1}
    later = rounds()
    later.cursor.taken = SIZE
    other = {group.problem.id: group for group in later.take(1)}
    same = [(group, other[group.problem.id]) for group in groups if group.problem.id in other]
    assert same and all(a.trajectories[0].metadata != b.trajectories[0].metadata for a, b in same)


def test_all_dialogues_of_a_visit_ask_the_probes_that_its_address_draws(groups):
    for group in groups:
        drawn = drawn_probes(group.problem, PROBES, 0, "grpo", 0, 0)
        for trajectory in group.trajectories[:GROUP]:
            asked = [m.content for m in trajectory.messages if m.role == "user"]
            assert asked == [*(probe.text for probe in drawn), group.problem.prompt]


def test_in_other_shards_the_same_seeds_are_asked_for(groups):
    small = rounds(shard_size=4)
    found = small.take(0)
    assert [t.seed for g in found for t in g.trajectories] == [t.seed for g in groups for t in g.trajectories]
    assert {line["round"] for line in small.schedule} == set(range(2 * PROBES + 1))


def test_what_outgrows_the_context_is_dropped_whole_and_counted():
    whole = rounds()
    dialogues = attempts(whole.take(0), "full", control=False)
    longest = sorted(len(t.token_ids) - len(t.response_ids) + 8 for t in dialogues)
    context = longest[len(longest) // 2]
    made = rounds(context=context, **only(direct=1))
    groups = made.take(0)
    kept = attempts(groups, "full")
    assert 0 < len(kept) < SIZE * GROUP
    assert made.report()["dialogue/dropped"] == SIZE * GROUP - len(kept)
    assert made.report()["dialogue/dropped_fraction"] == (SIZE * GROUP - len(kept)) / (SIZE * GROUP)
    assert {t.seed for t in kept} < {t.seed for t in dialogues}, "those that are left are what they would be anyway"
    assert all(len(t.token_ids) <= context for t in kept)
    for group in groups:
        assert {t.dialogue for t in attempts([group], "direct")} == {t.dialogue for t in attempts([group], "full")}


def test_a_group_without_a_dialogue_has_no_attempts_and_no_lesson():
    made = rounds(lessons=True)
    made.max_context = 40
    assert [group.trajectories for group in made.take(0)] == [()] * SIZE
    assert made.report()["dialogue/dropped_fraction"] == 1 and "dialogue/reply_tokens" not in made.report()


def test_a_lesson_is_the_teachers_dialogue_on_the_drawn_probes():
    for group in rounds(lessons=True).take(0):
        (lesson,) = [t for t in group.trajectories if t.origin == "teacher"]
        drawn = drawn_probes(group.problem, PROBES, 0, "grpo", 0, 0)
        said = [Message(*turn) for p in drawn for turn in (("user", p.text), ("assistant", p.teacher_reply))]
        assert lesson.messages == tuple(said) and lesson == group.trajectories[-1]
        own = [tokens for mine, tokens in turns_of(lesson) if mine]
        expected = [(*TOKENIZER.encode(p.teacher_reply, add_special_tokens=False), TOKENIZER.eos_token_id) for p in drawn]
        assert own == expected
        fields = (lesson.context, lesson.dialogue, lesson.control, lesson.score, lesson.behavior_logprobs)
        assert fields == ("full", None, False, None, None)


def test_the_gold_answer_stands_after_own_and_after_blanked_replies():
    for group in rounds(gold_reply="\\boxed{{answer}}").take(0):
        rows = [t for t in group.trajectories if t.origin == "teacher"]
        assert [(t.context, t.dialogue, t.control, t.score) for t in rows] == [
            (context, number, True, None) for number in range(GROUP) for context in ("full", "blanked")
        ]
        said = (*TOKENIZER.encode(f"\\boxed{{{group.problem.answer}}}", add_special_tokens=False), TOKENIZER.eos_token_id)
        for row in rows:
            like = next(t for t in group.trajectories if (t.context, t.dialogue) == (row.context, row.dialogue))
            assert row.messages[:-1] == like.messages[:-1] and row.response_ids == said == turns_of(row)[-1][1]
            assert row.token_ids[: -len(said)] == like.token_ids[: -len(like.response_ids)]
            assert sum(row.sampled) == len(said)


def test_a_reply_that_was_cut_off_is_closed_without_being_sampled(groups):
    closed = 0
    for trajectory in attempts(groups, "full", control=False):
        for (own, said), (_, asked) in zip(turns_of(trajectory)[1:-1:2], turns_of(trajectory)[2::2], strict=True):
            assert own and (said[-1] == TOKENIZER.eos_token_id) != (asked[0] == TOKENIZER.eos_token_id)
            closed += asked[0] == TOKENIZER.eos_token_id
    assert closed


def test_going_on_from_a_state_gives_what_an_undisturbed_stage_gives():
    whole, again = rounds(), rounds()
    whole.take(0)
    again.load_state(whole.state())
    assert again.take(1) == whole.take(1)


def test_a_refill_draws_other_problems_and_lends_from_the_whole_step():
    made = rounds()
    first = made.take(0)
    (group,) = made.refill(0, 1, 1)
    assert group.problem.id not in {other.problem.id for other in first}
    (branch, *_) = attempts([group], "shuffled")
    said, lent = ([m for m in t.messages if m.role == "assistant"][:-1] for t in (branch, first[0].trajectories[0]))
    assert said == lent
    assert [line["round"] for line in made.schedule] == list(range(2 * (2 * PROBES + 1)))


def without_probes(groups):
    return [replace(group, problem=replace(group.problem, metadata={})) for group in groups]


def leaking(groups):
    plain = probes_to_plain([probe(1, leaks_gold=True), probe(2, consistent=False)])
    return [replace(group, problem=replace(group.problem, metadata={"probes": plain})) for group in groups]


@pytest.mark.parametrize(
    ("problems", "changes", "message"),
    [
        (without_probes(PROBLEMS), {}, "no problem has a probe that may be asked"),
        (leaking(PROBLEMS), {}, "no problem has a probe that may be asked"),
        (PROBLEMS, {"num_probes": 6}, "no problem has the 6 probes that dialogue.num_probes asks for; the most are 5"),
        (PROBLEMS, {"context": 40}, "the shortest dialogue about any problem takes"),
        (PROBLEMS, {"reply_tokens": 5000}, "room for a reply .dialogue.reply_tokens 5000."),
        (PROBLEMS[:1], {}, "context shuffled needs two"),
        (PROBLEMS, {"blank_reply": "umbrella"}, "dialogue.blank_reply: 'umbrella' cannot be tokenised"),
        (PROBLEMS, {"think_longer": "umbrella {question}"}, "dialogue.think_longer: .*cannot be tokenised"),
        (PROBLEMS, {"gold_reply": "umbrella {answer}"}, "dialogue.gold_reply: .*cannot be tokenised"),
    ],
)
def test_problems_about_which_no_dialogue_can_be_held_are_refused(problems, changes, message):
    with pytest.raises(InputError, match=message):
        rounds(problems=problems, **changes)


def test_problems_with_too_few_probes_are_left_out():
    few = probed(6, num_probes=2)
    assert {prompt.problem.id for prompt in rounds(problems=[*PROBLEMS[:3], *few[3:]]).prompts} == {
        group.problem.id for group in PROBLEMS[:3]
    }


ONE_TURN = "{% if messages|length > 2 %}{{ raise_exception('one turn only') }}{% endif %}"
FORGETFUL = "(message['content'] if loop.last else message['content'].split('</think>')[-1])"  # as reasoning models' templates


@pytest.mark.parametrize("mend", [lambda given: ONE_TURN + given, lambda given: given.replace("message['content']", FORGETFUL)])
def test_a_student_that_holds_no_dialogue_is_refused_by_name(mend):
    tokenizer = arithmetic_tokenizer()
    tokenizer.name_or_path, tokenizer.chat_template = "org/one-turn", mend(tokenizer.chat_template)
    with pytest.raises(InputError, match=r"student\.model: the student 'org/one-turn' cannot hold a dialogue of several turns"):
        rounds(tokenizer=tokenizer)
