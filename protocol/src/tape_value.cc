// From the tape: values, and canonical bytes without values.
#include <algorithm>
#include <vector>

#include "scanner.h"
#include "writ/protocol/canonical.h"

namespace writ::json {

Value ValueAt(std::string_view text, const Tape& tape, std::uint32_t at) {
  const Node& node = tape[at];
  switch (node.kind) {
    case Node::kNull:
      return Value();
    case Node::kFalse:
      return Value(false);
    case Node::kTrue:
      return Value(true);
    case Node::kNumber: {
      double number = 0;
      ReadNumber(text.substr(node.begin, node.end - node.begin), number);
      return Value(number);
    }
    case Node::kString:
    case Node::kName:
      return Value::FromUtf8(DecodeText(text, node));
    case Node::kArray: {
      Array items;
      items.reserve(node.count);
      for (std::uint32_t child = at + 1; child < node.next; child = tape[child].next)
        items.push_back(ValueAt(text, tape, child));
      return Value(std::move(items));
    }
    case Node::kObject:
      break;
  }
  std::vector<Member> members;
  members.reserve(node.count);
  for (std::uint32_t name = at + 1; name < node.next; name = tape[name + 1].next) {
    members.push_back({DecodeText(text, tape[name]), ValueAt(text, tape, name + 1)});
  }
  Object object;
  if (object.Adopt(std::move(members))) std::abort();  // the scanner refuses duplicates
  return Value(std::move(object));
}

std::uint32_t MemberAt(std::string_view text, const Tape& tape, std::uint32_t object,
                       std::string_view wanted) {
  const Node& node = tape[object];
  if (node.kind != Node::kObject) return 0;
  for (std::uint32_t name = object + 1; name < node.next; name = tape[name + 1].next) {
    const Node& n = tape[name];
    if (n.flagged ? DecodeText(text, n) == wanted : text.substr(n.begin, n.end - n.begin) == wanted)
      return name + 1;
  }
  return 0;
}

namespace {

constexpr std::uint32_t kFewMembers = 16;

bool NodeNameLess(std::string_view text, const Node& a, const Node& b) {
  if (a.flagged || b.flagged) return NameLess(DecodeText(text, a), DecodeText(text, b));
  return NameLess(text.substr(a.begin, a.end - a.begin), text.substr(b.begin, b.end - b.begin));
}

void AppendText(std::string_view text, const Node& node, std::string& out) {
  if (node.flagged) {
    AppendQuoted(DecodeText(text, node), out);
  } else {
    // Without escapes a string is its own shortest form; the quotation marks stand around it.
    out.append(text.substr(node.begin - 1, node.end - node.begin + 2));
  }
}

void AppendMembers(std::string_view text, const Tape& tape, const std::uint32_t* names,
                   std::uint32_t count, std::string& out) {
  for (std::uint32_t i = 0; i < count; ++i) {
    out.push_back(i == 0 ? '{' : ',');
    AppendText(text, tape[names[i]], out);
    out.push_back(':');
    AppendCanonicalAt(text, tape, names[i] + 1, out);
  }
  out.push_back('}');
}

void AppendObject(std::string_view text, const Tape& tape, std::uint32_t at, std::string& out) {
  const Node& node = tape[at];
  if (node.count == 0) {
    out.append("{}");
    return;
  }
  std::uint32_t few[kFewMembers];
  std::vector<std::uint32_t> many;
  std::uint32_t* names = few;
  if (node.count > kFewMembers) {
    many.resize(node.count);
    names = many.data();
  }
  std::uint32_t count = 0;
  bool sorted = true;
  for (std::uint32_t name = at + 1; name < node.next; name = tape[name + 1].next) {
    if (sorted && count > 0) sorted = NodeNameLess(text, tape[names[count - 1]], tape[name]);
    names[count++] = name;
  }
  if (!sorted) {
    std::sort(names, names + count, [&](std::uint32_t a, std::uint32_t b) {
      return NodeNameLess(text, tape[a], tape[b]);
    });
  }
  AppendMembers(text, tape, names, count, out);
}

}  // namespace

void AppendCanonicalAt(std::string_view text, const Tape& tape, std::uint32_t at,
                       std::string& out) {
  const Node& node = tape[at];
  switch (node.kind) {
    case Node::kNull:
      out.append("null");
      return;
    case Node::kFalse:
      out.append("false");
      return;
    case Node::kTrue:
      out.append("true");
      return;
    case Node::kNumber: {
      const std::string_view digits = text.substr(node.begin, node.end - node.begin);
      if (!node.flagged) {
        out.append(digits);
        return;
      }
      double number = 0;
      ReadNumber(digits, number);
      AppendNumber(number, out);
      return;
    }
    case Node::kString:
    case Node::kName:
      AppendText(text, node, out);
      return;
    case Node::kArray: {
      out.push_back('[');
      bool first = true;
      for (std::uint32_t child = at + 1; child < node.next; child = tape[child].next) {
        if (!first) out.push_back(',');
        first = false;
        AppendCanonicalAt(text, tape, child, out);
      }
      out.push_back(']');
      return;
    }
    case Node::kObject:
      AppendObject(text, tape, at, out);
      return;
  }
}

}  // namespace writ::json
