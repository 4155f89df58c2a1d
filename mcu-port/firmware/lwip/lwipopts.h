/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lwIP for one connection at a time over Ethernet with IPv4, without an operating system. All
 * memory is in pools of a fixed number of pieces.
 */
#ifndef FIRMWARE_LWIPOPTS_H
#define FIRMWARE_LWIPOPTS_H

#define NO_SYS               1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_SOCKET          0
#define LWIP_NETCONN         0
#define LWIP_RAW             0
#define LWIP_UDP             0
#define LWIP_ICMP            0
#define LWIP_STATS           0
#define LWIP_SINGLE_NETIF    1
#define IP_REASSEMBLY        0
#define IP_FRAG              0

/* A frame in two pieces; a window of four of them, and some for others that talk. */
#define ETH_PAD_SIZE      2
#define TCP_MSS           536
#define TCP_WND           (4 * TCP_MSS)
#define TCP_SND_BUF       (2 * TCP_MSS)
#define TCP_SND_QUEUELEN  6
#define TCP_OVERSIZE      0 /* requests are short: no large pieces for them */
#define PBUF_POOL_BUFSIZE 296
#define PBUF_POOL_SIZE    12

/* What is given up is aborted, and gone at once. */
#define MEMP_NUM_TCP_PCB        1
#define MEMP_NUM_TCP_PCB_LISTEN 1
#define MEMP_NUM_TCP_SEG        8
#define MEMP_NUM_PBUF           2
#define ARP_TABLE_SIZE          4

#define MEM_ALIGNMENT                 4
#define MEM_USE_POOLS                 1
#define MEM_USE_POOLS_TRY_BIGGER_POOL 1
#define MEMP_USE_CUSTOM_POOLS         1

#endif
