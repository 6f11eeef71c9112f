// The automaton behind the redactor: Aho-Corasick over the bytes of all forms.
//
// Nodes are sparse (most have one child): a secret of 3 KB in thirty forms stays below a few
// megabytes. The root is dense, and pairs of bytes that begin no form are skipped by a bitmap. Each
// node knows the longest form that ends there, which is all that a union of matches needs.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "writ/runner/redactor.h"

namespace writ::runner {

class RedactionTable {
 public:
  static constexpr std::uint32_t kRoot = 0;
  static constexpr std::uint32_t kNone = 0xffffffff;

  RedactionTable(const std::vector<NamedSecret>& secrets, RedactIn where);
  ~RedactionTable();  // wipes the nodes: their edges spell the values
  RedactionTable(const RedactionTable&) = delete;
  RedactionTable& operator=(const RedactionTable&) = delete;

  bool empty() const { return nodes_.size() <= 1; }
  std::size_t longest() const { return longest_; }
  const std::string& name(std::uint32_t secret) const { return names_[secret]; }

  // May a form begin with these two bytes?
  bool MayBegin(unsigned char first, unsigned char second) const {
    return pairs_[static_cast<std::size_t>(first) << 8 | second];
  }
  bool MayBegin(unsigned char first) const { return root_[first] != kRoot; }

  std::uint32_t Step(std::uint32_t state, unsigned char byte) const {
    while (state != kRoot) {
      std::uint32_t next = Child(state, byte);
      if (next != kNone) return next;
      state = nodes_[state].fail;
    }
    return root_[byte];
  }
  std::uint32_t depth(std::uint32_t state) const { return nodes_[state].depth; }
  // Length of the longest form that ends in this state; 0: none.
  std::uint32_t match_length(std::uint32_t state) const { return nodes_[state].match_length; }
  std::uint32_t match_secret(std::uint32_t state) const { return nodes_[state].match_secret; }

 private:
  struct Node {
    std::uint32_t child = kNone;    // first child
    std::uint32_t sibling = kNone;  // next child of the same parent
    std::uint32_t fail = kRoot;
    std::uint32_t depth = 0;
    std::uint32_t match_length = 0;
    std::uint32_t match_secret = 0;
    unsigned char byte = 0;
  };
  std::uint32_t Child(std::uint32_t state, unsigned char byte) const {
    for (std::uint32_t c = nodes_[state].child; c != kNone; c = nodes_[c].sibling)
      if (nodes_[c].byte == byte) return c;
    return kNone;
  }
  void Add(std::string_view form, std::uint32_t secret);
  void Link();

  std::vector<Node> nodes_;
  std::array<std::uint32_t, 256> root_{};
  std::bitset<65536> pairs_;
  std::vector<std::string> names_;
  std::size_t longest_ = 0;
};

}  // namespace writ::runner
