// Networks that VMs join.
#include "base/text.h"
#include "cli/command_builder.h"
#include "cli/fleet_view.h"

namespace ebb {
namespace {

Task<Result<Exit>> list_networks(Context& c) {
  EBB_CO_TRY(networks, co_await c.client.networks());
  c.show(networks, networks_table(networks, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> show_network(Context& c, NetworkId id) {
  EBB_CO_TRY(network, co_await c.client.network(id));
  c.show(network, networks_table({network}, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> create_network(Context& c, CreateNetwork wish) {
  EBB_CO_TRY(network, co_await c.client.create_network(std::move(wish)));
  c.show(network, networks_table({network}, c.now()));
  c.screen().say(fmt::format(
      "agents whose workers have a bridge to it say so in their configuration: [networks.{}]", network.id));
  co_return Exit::ok;
}

Task<Result<Exit>> remove_network(Context& c, NetworkId id) {
  EBB_CO_CHECKED(co_await c.client.remove_network(id));
  c.screen().say(fmt::format("network {} is removed", id));
  c.show_removed("networks/" + id.value);
  co_return Exit::ok;
}

std::optional<std::string> given(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional(text);
}

}  // namespace

void add_network_commands(Builder& b) {
  auto* networks = b.command("networks", "list networks that VMs join");
  networks->alias("network");
  b.on_list(networks, list_networks);
  b.on_one(networks, "show", "one network", "NETWORK", show_network);
  b.on_one(networks, "rm", "forget a network that no VM is in", "NETWORK", remove_network);
  struct Texts {
    std::string name, subnet, gateway, range;
    std::vector<std::string> dns;
  };
  auto t = std::make_shared<Texts>();
  auto* create =
      b.command(networks, "create", "name a network; VMs in it keep their addresses wherever they run");
  create->add_option("NAME", t->name)->required();
  auto* subnet = create->add_option(
      "--subnet", t->subnet,
      "of IPv4, as 10.20.0.0/24: VMs get addresses of it; without one they ask a DHCP server");
  create->add_option("--gateway", t->gateway, "address of the router")->needs(subnet);
  create
      ->add_option("--range", t->range,
                   "FIRST-LAST of the addresses that VMs get; all of the subnet, if not given")
      ->needs(subnet);
  create->add_option("--dns", t->dns, "address of a name server; may be repeated")
      ->allow_extra_args(false)
      ->needs(subnet);
  b.on(create, [t] {
    CreateNetwork wish{NetworkId(t->name), given(t->subnet), given(t->gateway), {}, {}, t->dns};
    if (!t->range.empty()) {
      const auto dash = t->range.find('-');
      if (dash == std::string::npos || dash == 0 || dash + 1 == t->range.size())
        refuse("--range", fmt::format("'{}' must be FIRST-LAST", t->range));
      wish.first = t->range.substr(0, dash), wish.last = t->range.substr(dash + 1);
    }
    return [wish](Context& c) { return create_network(c, wish); };
  });
}

}  // namespace ebb
