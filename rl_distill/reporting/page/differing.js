// What two answers differ in, word by word: the longest common subsequence between equal ends.
const MOST_CELLS = 4e6;

function differing(first, second) {
  const one = first.match(/\s+|[^\s]+/g) || [], two = second.match(/\s+|[^\s]+/g) || [];
  let head = 0, tail = 0;
  while (head < one.length && head < two.length && one[head] === two[head]) head++;
  while (tail < one.length - head && tail < two.length - head && one[one.length - 1 - tail] === two[two.length - 1 - tail]) tail++;
  const middle = common(one.slice(head, one.length - tail), two.slice(head, two.length - tail));
  const side = (words, kept, tag) => {
    const parts = [];
    words.forEach((word, place) => {
      const same = place < head || place >= words.length - tail || kept.has(place - head);
      const last = parts[parts.length - 1];
      if (last && last.same === same) last.text += word; else parts.push({same, text: word});
    });
    return parts.map(part => part.same ? part.text : el(tag, {}, part.text));
  };
  return {first: side(one, middle.first, "del"), second: side(two, middle.second, "ins")};
}

// Places of common words on both sides. Of texts that are too long for the table nothing between their ends counts as common.
function common(one, two) {
  const kept = {first: new Set(), second: new Set()}, width = two.length + 1;
  if (!one.length || !two.length || (one.length + 1) * width > MOST_CELLS) return kept;
  const longest = new Uint16Array((one.length + 1) * width);
  for (let row = one.length - 1; row >= 0; row--) {
    for (let column = two.length - 1; column >= 0; column--) {
      const at = row * width + column;
      longest[at] = one[row] === two[column] ? longest[at + width + 1] + 1 : Math.max(longest[at + width], longest[at + 1]);
    }
  }
  for (let row = 0, column = 0; row < one.length && column < two.length;) {
    const at = row * width + column;
    if (one[row] === two[column]) { kept.first.add(row++); kept.second.add(column++); }
    else if (longest[at + width] >= longest[at + 1]) row++;
    else column++;
  }
  return kept;
}
