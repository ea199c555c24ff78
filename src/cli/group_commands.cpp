// Groups of VMs that are placed with regard to each other.
#include <charconv>

#include "cli/command_builder.h"
#include "cli/fleet_view.h"

namespace ebb {
namespace {

Task<Result<Exit>> list_groups(Context& c) {
  EBB_CO_TRY(groups, co_await c.client.groups());
  c.show(groups, groups_table(groups));
  co_return Exit::ok;
}

Task<Result<Exit>> show_group(Context& c, GroupId id) {
  EBB_CO_TRY(group, co_await c.client.group(id));
  c.show(group, groups_table({group}));
  co_return Exit::ok;
}

Task<Result<Exit>> set_group(Context& c, PutGroup wish) {
  EBB_CO_TRY(group, co_await c.client.put_group(std::move(wish)));
  c.show(group, groups_table({group}));
  if (!group.breaches.empty())
    c.screen().say("warning: its VMs are not so now, and nobody is moved for that: 'ebb migrate VM' does");
  co_return Exit::ok;
}

Task<Result<Exit>> remove_group(Context& c, GroupId id) {
  EBB_CO_CHECKED(co_await c.client.remove_group(id));
  c.screen().say(fmt::format("group {} is removed", id));
  c.show_removed("groups/" + id.value);
  co_return Exit::ok;
}

// "rack", or "rack:2".
Apart parse_apart(const std::string& text) {
  const auto colon = text.find(':');
  Apart apart{value_or_refuse(parse_domain_level(text.substr(0, colon)), "--apart")};
  if (colon == std::string::npos) return apart;
  const auto* end = text.data() + text.size();
  const auto read = std::from_chars(text.data() + colon + 1, end, apart.most);
  if (read.ec != std::errc{} || read.ptr != end || apart.most == 0)
    refuse("--apart", fmt::format("'{}' must be LEVEL or LEVEL:NUMBER", text));
  return apart;
}

}  // namespace

void add_group_commands(Builder& b) {
  auto* groups = b.command("groups", "list groups: VMs that stay apart, or together");
  groups->alias("group");
  b.on_list(groups, list_groups);
  b.on_one(groups, "show", "one group", "GROUP", show_group);
  b.on_one(groups, "rm", "forget a group that no VM is in", "GROUP", remove_group);
  struct Texts {
    std::string name, together;
    std::vector<std::string> apart;
  };
  auto t = std::make_shared<Texts>();
  auto* set = b.command(groups, "set", "make a group, or change it; a change moves nobody");
  set->add_option("NAME", t->name)->required();
  set->add_option("--apart", t->apart,
                  "at most NUMBER (default: 1) of them in one such place; may be repeated")
      ->type_name("worker|rack|zone|region[:NUMBER]")
      ->allow_extra_args(false);
  set->add_option("--together", t->together, "all of them in one such place")
      ->type_name("worker|rack|zone|region");
  b.on(set, [=] {
    PutGroup wish{GroupId(t->name), {}};
    for (const auto& apart : t->apart) wish.apart.push_back(parse_apart(apart));
    if (!t->together.empty()) wish.together = value_or_refuse(parse_domain_level(t->together), "--together");
    if (wish.apart.empty() && !wish.together) refuse("--apart", "say --apart, --together, or both");
    return [wish](Context& c) { return set_group(c, wish); };
  });
}

}  // namespace ebb
