#include "writ/plane/types.h"

#include <algorithm>

namespace writ::plane {
namespace {

constexpr json::EnumName<Role> kRoleTable[] = {
    {Role::kAdmin, "admin"},
    {Role::kRequester, "requester"},
    {Role::kApprover, "approver"},
    {Role::kEnroller, "enroller"},
};

}  // namespace

std::string_view RoleName(Role role) {
  return protocol::WordIn(kRoleTable, role);
}

std::optional<Role> ParseRole(std::string_view name) {
  // The protocol's table of calls says "enroll" for the role.
  if (name == "enroll") return Role::kEnroller;
  return protocol::ParseIn(kRoleTable, name);
}

bool Caller::Has(Role role) const {
  return std::any_of(roles.begin(), roles.end(),
                     [role](Role r) { return r == role || r == Role::kAdmin; });
}

Caller Caller::Local(std::string name) {
  return Caller{std::move(name), {Role::kAdmin}, ActorKind::kHuman};
}

}  // namespace writ::plane
