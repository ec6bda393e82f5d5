/* The first mapping of a port is to itself, so a run without rebindings sees the ports as they are. Only ports of UDP
   are looked at: of one address for A, so no address is part of a mapping. What B begins on its own, to a port that A
   never sent from, passes. */
#include "link/link_nat.h"

#include <string.h>

void link_nat_rebind(struct link_nat *nat) {
  for (uint32_t port = 0; port < 65536; port++)
    nat->forgotten[port] = nat->forgotten[port] || nat->inner[port] != 0;
  memset(nat->outer, 0, sizeof nat->outer);
  memset(nat->inner, 0, sizeof nat->inner);
  nat->rebinds++;
}

/* A port that is not in use; when all are, the port itself. */
static uint16_t choose(struct link_nat *nat, uint16_t inner) {
  if (nat->rebinds == 0 && nat->inner[inner] == 0)
    return inner;
  for (int tries = LINK_NAT_PORTS_FIRST; tries <= LINK_NAT_PORTS_LAST; tries++) {
    bool again = nat->last < LINK_NAT_PORTS_FIRST || nat->last >= LINK_NAT_PORTS_LAST;
    nat->last = again ? LINK_NAT_PORTS_FIRST : (uint16_t)(nat->last + 1);
    if (nat->inner[nat->last] == 0 && nat->last != inner)
      return nat->last;
  }
  return inner;
}

void link_nat_outbound(struct link_nat *nat, struct link_packet *packet) {
  if (packet->udp == 0)
    return;
  uint16_t inner = link_packet_port(packet, LINK_UDP_SOURCE_PORT);
  if (inner == 0)
    return;
  if (nat->outer[inner] == 0) {
    uint16_t outer = choose(nat, inner);
    nat->outer[inner] = outer;
    nat->inner[outer] = inner;
    nat->forgotten[outer] = false;
  }
  if (nat->outer[inner] != inner)
    link_packet_set_port(packet, LINK_UDP_SOURCE_PORT, nat->outer[inner]);
}

bool link_nat_inbound(struct link_nat *nat, struct link_packet *packet) {
  if (packet->udp == 0)
    return true;
  uint16_t outer = link_packet_port(packet, LINK_UDP_DESTINATION_PORT), inner = nat->inner[outer];
  if (inner != 0 && inner != outer)
    link_packet_set_port(packet, LINK_UDP_DESTINATION_PORT, inner);
  return inner != 0 || !nat->forgotten[outer];
}
