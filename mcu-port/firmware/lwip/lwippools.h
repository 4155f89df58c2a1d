/* SPDX-License-Identifier: Apache-2.0 */
/* What goes out: headers, a pbuf, and short requests; or a full segment. lwIP includes this several
 * times. */
LWIP_MALLOC_MEMPOOL_START
LWIP_MALLOC_MEMPOOL(6, 160)
LWIP_MALLOC_MEMPOOL(3, 620)
LWIP_MALLOC_MEMPOOL_END
