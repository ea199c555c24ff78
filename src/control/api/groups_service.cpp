#include "control/api/services.h"

namespace ebb::control {

void GroupsService::add_routes(Router& r) {
  const auto op = Access::operator_token;
  r.add("GET", "/v1/groups", op, [this](Call c) { return list(std::move(c)); });
  r.add("POST", "/v1/groups", op, [this](Call c) { return put(std::move(c)); });
  r.add("GET", "/v1/groups/{id}", op, [this](Call c) { return show(std::move(c)); });
  r.add("DELETE", "/v1/groups/{id}", op, [this](Call c) { return remove(std::move(c)); });
}

Task<HttpResponse> GroupsService::list(Call call) {
  co_return reply_or_error(page_of<GroupView>(c_, c_.fleet().groups(), call, keep_all));
}

Task<HttpResponse> GroupsService::show(Call call) {
  const auto* group = c_.fleet().find(GroupId(call.param("id")));
  co_return group ? reply_with(view_of(c_, *group)) : error_reply(no_such("group", call.param("id")));
}

Result<bool> GroupsService::put_in(Batch& batch, const PutGroup& wish) const {
  if (!is_valid_name(wish.id.value))
    return fail_field("id", "'{}' is no name: 1 to 63 of a-z, 0-9 and '-', first and last not '-'", wish.id);
  if (wish.apart.empty() && !wish.together)
    return fail_field("apart", "a group needs 'apart', 'together', or both");
  std::set<DomainLevel> levels;
  for (const auto& apart : wish.apart) {
    if (apart.most < 1 || apart.most > group_vms_in_domain_max)
      return fail_field("apart", "a {} may have 1 to {} of a group", json::name_of(apart.level),
                        group_vms_in_domain_max);
    if (!levels.insert(apart.level).second)
      return fail_field("apart", "level {} is there twice", json::name_of(apart.level));
    if (wish.together && apart.level >= *wish.together)
      return fail_field("apart", "they cannot all be in one {}, and at most {} of them in one {}",
                        json::name_of(*wish.together), apart.most, json::name_of(apart.level));
  }
  const auto* old = c_.fleet().find(wish.id);
  if (!old && c_.fleet().groups().size() >= groups_max)
    return fail(Code::conflict, "there are {} groups, and no more are taken", groups_max);
  const Group next{wish.id, wish.apart, wish.together, old ? old->created_at : batch.now()};
  if (old && *old == next) return false;
  batch.put(next);
  batch.journal(old ? "group.changed" : "group.created", "groups/" + wish.id.value, text_of(next));
  return !old;
}

Task<HttpResponse> GroupsService::put(Call call) {
  auto wish = body_of<PutGroup>(call);
  if (!wish) co_return error_reply(wish.error());
  auto is_new = co_await c_.owner.change<bool>([&](Batch& batch) { return put_in(batch, *wish); });
  if (!is_new) co_return error_reply(is_new.error());
  const auto* group = c_.fleet().find(wish->id);
  if (!group) co_return error_reply(no_such("group", wish->id.value));  // removed meanwhile
  co_return reply_with(view_of(c_, *group), *is_new ? 201 : 200);
}

Task<HttpResponse> GroupsService::remove(Call call) {
  const GroupId id(call.param("id"));
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto* group = c_.fleet().find(id);
    if (!group) return fail(no_such("group", id.value));
    if (const auto& vms = c_.fleet().vms_in(id); !vms.empty())
      return fail(Code::conflict,
                  "{} VM{} in it, {} among them: take them out first: ebb vms edit {} --group ''", vms.size(),
                  vms.size() == 1 ? " is" : "s are", *vms.begin(), *vms.begin());
    batch.erase(*group);
    batch.journal("group.removed", "groups/" + id.value, "removed");
    return true;
  });
  if (!changed) co_return error_reply(changed.error());
  HttpResponse reply;
  reply.status = 204;
  co_return reply;
}

}  // namespace ebb::control
