/** Entry of the metrics panel. */
import '../shared/locale';
import './metrics.css';
import { h } from '../shared/dom';
import { startMetricsPanel } from './panel';

const root = h('div', { attrs: { id: 'app' } });
document.body.append(root);
startMetricsPanel(root);
