#include "redact/table.h"

#include <string.h>

#include <algorithm>

namespace writ::runner {
namespace {

constexpr std::size_t kMaxHostNameBytes = 253;

Secret InLowerCase(const Secret& form) {
  std::string text(form.Reveal());
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return Secret::Consume(text);
}

}  // namespace

RedactionTable::RedactionTable(const std::vector<NamedSecret>& secrets, RedactIn where) {
  // All forms first: the nodes are reserved once, so that no outgrown copy of them is left unwiped.
  std::vector<SecretForm> forms;
  std::size_t bytes = 1;
  for (std::size_t i = 0; i < secrets.size(); ++i) {
    names_.push_back(secrets[i].name);
    if (secrets[i].value.empty()) continue;
    for (SecretForm& form : FormsOf(secrets[i].value.Reveal(), i)) {
      if (where == RedactIn::kHostNames) {
        if (form.bytes.size() > kMaxHostNameBytes) continue;
        form.bytes = InLowerCase(form.bytes);
      }
      bytes += form.bytes.size();
      forms.push_back(std::move(form));
    }
  }
  nodes_.reserve(bytes);
  nodes_.emplace_back();
  for (const SecretForm& form : forms)
    Add(form.bytes.Reveal(), static_cast<std::uint32_t>(form.secret));
  Link();
}

RedactionTable::~RedactionTable() {
  explicit_bzero(nodes_.data(), nodes_.size() * sizeof(Node));
  explicit_bzero(root_.data(), sizeof(root_));
}

void RedactionTable::Add(std::string_view form, std::uint32_t secret) {
  std::uint32_t at = kRoot;
  for (char c : form) {
    auto byte = static_cast<unsigned char>(c);
    std::uint32_t next = Child(at, byte);
    if (next == kNone) {
      next = static_cast<std::uint32_t>(nodes_.size());
      Node node;
      node.byte = byte;
      node.depth = nodes_[at].depth + 1;
      node.sibling = nodes_[at].child;
      nodes_.push_back(node);
      nodes_[at].child = next;
    }
    at = next;
  }
  if (nodes_[at].match_length == 0) {  // the first secret with this form names it
    nodes_[at].match_length = static_cast<std::uint32_t>(form.size());
    nodes_[at].match_secret = secret;
  }
  longest_ = std::max(longest_, form.size());
  pairs_.set(static_cast<std::size_t>(static_cast<unsigned char>(form[0])) << 8 |
             static_cast<unsigned char>(form[1]));
}

// Breadth first: a node's fail link is shorter than itself, hence already linked.
void RedactionTable::Link() {
  std::vector<std::uint32_t> order;
  order.reserve(nodes_.size());
  for (std::uint32_t c = nodes_[kRoot].child; c != kNone; c = nodes_[c].sibling) {
    root_[nodes_[c].byte] = c;
    order.push_back(c);
  }
  for (std::size_t i = 0; i < order.size(); ++i) {
    std::uint32_t at = order[i];
    for (std::uint32_t c = nodes_[at].child; c != kNone; c = nodes_[c].sibling) {
      nodes_[c].fail = Step(nodes_[at].fail, nodes_[c].byte);
      order.push_back(c);
    }
    const Node& fail = nodes_[nodes_[at].fail];
    if (nodes_[at].match_length == 0 && fail.match_length != 0) {
      nodes_[at].match_length = fail.match_length;
      nodes_[at].match_secret = fail.match_secret;
    }
  }
}

}  // namespace writ::runner
