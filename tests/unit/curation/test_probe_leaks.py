"""Which texts say a problem's answer, and which only repeat its own words."""

import pytest

from rl_distill.curation.probe_leaks import says_answer


@pytest.mark.parametrize(
    ("question", "gold", "text"),
    [
        ("I had 5 and gave 2. How many are left?", "3", "Why are 3 left?"),
        ("I had 5 and gave 2. How many are left?", "3", "Why are three left?"),
        ("I had 5 and gave 2. How many are left?", "$3.00$", "Undo 5 - 2 = 3."),
        ("What do 7 boxes of 200 hold?", "1,400", "Why do they hold 1400 things?"),
        ("2 + 2 - 2 = ?", "2", "2 + 2 - 2 = 2 . undo ?"),
        ("Which sign? Turn left or right by 90.", "-90", "Why is the turn -90 and what is it against 90?"),
        ("Halve it.", "\\dfrac{1}{2}", "Why is the share $\\frac{1}{2}$?"),
        ("Who wrote it?", "Ada Lovelace", "What made ada  lovelace write?"),
        ("Can a pear sink? yes or no", "no", "Why is the answer no?"),
        ("Pick (A) one or (B) two.", "B", "Pick (A) one or (B) two. Why not (B)?"),
        ("Pick (A) one or (B) two.", "(B)", "What speaks for option B?"),
    ],
)
def test_a_text_that_says_the_answer_leaks(question, gold, text, problem):
    assert says_answer(text, problem(question, gold))


@pytest.mark.parametrize(
    ("question", "gold", "text"),
    [
        ("I had 5 and gave 2. How many are left?", "3", "Why 5 - 2 and not 5 + 2?"),
        ("I had 5 and gave 2. How many are left?", "3", "What if I had 13, or 3.5, or gave 30?"),
        ("2 + 2 - 2 = ?", "2", "2 + 2 - 2 . after 1 ?"),
        ("Who wrote it?", "Ada", "What did Adam write?"),
        ("Can a pear sink?", "no", "There is no pear without water. Why?"),
        ("Pick (A) one or (B) two.", "A", "Pick (A) one or (B) two. A reader picks (B). What went wrong?"),
        ("Anything", None, "Anything at all?"),
    ],
)
def test_a_text_that_only_repeats_the_problem_does_not(question, gold, text, problem):
    assert not says_answer(text, problem(question, gold))
