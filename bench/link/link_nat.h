/* A NAT in front of A: after a rebinding its UDP packets come from other source ports. */
#ifndef PTP_BENCH_LINK_NAT_H
#define PTP_BENCH_LINK_NAT_H

#include <stdbool.h>
#include <stdint.h>

#include "link/link_packet.h"

enum { LINK_NAT_PORTS_FIRST = 50000, LINK_NAT_PORTS_LAST = 59999 };

/* Port numbers by port number; 0: none. */
struct link_nat {
  uint16_t outer[65536], inner[65536];
  bool forgotten[65536]; /* outer ports that had a mapping */
  uint16_t last;
  uint64_t rebinds;
};

/* Forgets all mappings: each port of A gets another one with its next packet. Before the first call nothing is
   changed. */
void link_nat_rebind(struct link_nat *nat);
/* For a packet from A. */
void link_nat_outbound(struct link_nat *nat, struct link_packet *packet);
/* For a packet to A; false: it is for a mapping that is forgotten, and is to be dropped. */
bool link_nat_inbound(struct link_nat *nat, struct link_packet *packet);

#endif
