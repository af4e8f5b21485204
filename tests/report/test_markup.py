"""Tables take every text as text; pictures stop where the page is full."""

from finetune.report.markup import document, image, table


def test_every_cell_is_text():
    made = table(("<i>",), [("<b>", "<u>")], named="<s>")
    assert not any(tag in made for tag in ("<i>", "<b>", "<u>", "<s>"))
    assert "<script>" not in document("<script>", "", "", skip=("a", "<script>"))


def test_pictures_take_from_the_budget_and_end_with_it():
    left = [20]
    assert image(b"0123456789", "one", left) and left[0] == 4
    assert image(b"0123456789", "two", left) == "" and left[0] == 4
