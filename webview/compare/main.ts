/** Entry of the compare panel. */
import '../shared/locale';
import './compare.css';
import { h } from '../shared/dom';
import { startComparePanel } from './panel';

const root = h('div', { attrs: { id: 'app' } });
document.body.append(root);
startComparePanel(root);
